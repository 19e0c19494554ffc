"""Hostile requests: well-formed ones of every method, damaged where it hurts, from a seeded source.

Each comes with the statuses that would be right for it. A damage that may leave the request sound
allows for that; one that can't be sound has one right answer.
"""

import io
import math
import random
import struct
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import grpc
import numpy as np
from google.protobuf.message import Message
from PIL import Image

from benchmarks.random_media import MEDIA
from imp_eval import filters
from imp_proto.v1 import embedding_pb2 as e
from imp_proto.v1 import retrieval_pb2 as r

OK, BAD, MISSING = "OK", "INVALID_ARGUMENT", "NOT_FOUND"
FULL, UNKNOWN_CALLER = "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"
_NAMES = ("../up", "/etc/passwd", "", ".", "..", "a/b", "a\0b", "a" * 65, "ключ", "%2e%2e", "a b")
_SERVICES = {
    "Embed": "EmbeddingService",
    "EmbedStream": "EmbeddingService",
    "GetModel": "EmbeddingService",
    "Classify": "ClassificationService",
}


class Hostile(NamedTuple):
    """A request's bytes (several messages for a stream), and the codes that are right for it.

    `items`: how many results an OK answer holds, and the places of those that must be errors.
    """

    kind: str
    method: str
    messages: tuple[bytes, ...]
    right: frozenset[str]
    items: int = 0
    errors: frozenset[int] = frozenset()
    metadata: tuple[tuple[str, str], ...] = ()
    compression: grpc.Compression = grpc.Compression.NoCompression

    @property
    def path(self) -> str:
        return f"/imp.v1.{_SERVICES.get(self.method, 'RetrievalService')}/{self.method}"


class Source:
    """Hostile requests, the same for a seed; a collection `pictures` of `dim` numbers is there."""

    def __init__(self, seed: int, dim: int) -> None:
        self._rng = random.Random(seed)
        self._dim = dim
        self._files = {kind: [make(self._rng) for _ in range(12)] for kind, make in MEDIA.items()}
        self._makers: Sequence[Callable[[], Hostile]] = (
            self.damaged_message,
            self.damaged_media,
            self.damaged_media,
            self.forged_picture,
            self.wrong_lists,
            self.wrong_names,
            self.wrong_vectors,
            self.wrong_texts,
            self.wrong_numbers,
            self.wrong_callers,
            self.damaged_stream,
            self.bomb,
        )

    def take(self, count: int) -> list[Hostile]:
        """The kinds in turns; bombs, which cost most, now and then."""
        found: list[Hostile] = []
        while len(found) < count:
            maker = self._makers[len(found) % len(self._makers)]
            if maker == self.bomb and len(found) % (40 * len(self._makers)) > len(self._makers):
                maker = self.damaged_message
            found.append(maker())
        return found

    def damaged_message(self) -> Hostile:
        """Bytes flipped, cut, put in or repeated in the message of any method."""
        method, message = self._rng.choice(self._sound())
        data = self._damage(message.SerializeToString())
        # What is left may be sound, may name what isn't there, or may be there already.
        right = {OK, BAD, MISSING, "ALREADY_EXISTS"}
        return Hostile("damaged message", method, (data,), frozenset(right))

    def damaged_media(self) -> Hostile:
        kind = self._rng.choice(list(MEDIA))
        file = self._rng.choice(self._files[kind])
        data = self._damage(file)
        request = e.EmbedRequest()
        setattr(request.items.add(target="text").input, kind, data)
        setattr(request.items.add(target="text").input, kind, file)
        if self._rng.random() < 0.3:  # a file of another kind than is said
            other = self._rng.choice([k for k in MEDIA if k != kind])
            setattr(request.items.add(target="text").input, other, file)
        items = len(request.items)
        return self._embed("damaged media", request, items=items)

    def forged_picture(self) -> Hostile:
        """Headers that announce sizes out of all proportion."""
        width, height = (self._rng.choice([0, 1, 1 << 15, 1 << 20, 2**31 - 1]) for _ in "ab")
        data = bytearray(self._file_of("PNG"))
        struct.pack_into(">II", data, 16, width, height)
        request = e.EmbedRequest()
        request.items.add(input=e.Input(image=bytes(data)), target="text")
        return self._embed("forged picture", request, items=1, errors={0})

    def wrong_lists(self) -> Hostile:
        one = e.Input(text="a bird")
        empty, gigantic = self._rng.random() < 0.5, self._rng.choice([257, 5_000])
        count = 0 if empty else gigantic
        choice = self._rng.randrange(5)
        if choice == 0:
            items = [e.EmbedItem(input=one, target="image")] * count
            return self._refused("wrong list", "Embed", e.EmbedRequest(items=items))
        if choice == 1:
            request = e.ClassifyRequest(inputs=[e.Input(image=b"x")] * count, class_names=["a"])
            return self._refused("wrong list", "Classify", request)
        if choice == 2:
            names = [str(i) for i in range(0 if empty else 2_001)]
            request = e.ClassifyRequest(inputs=[e.Input(image=b"x")], class_names=names)
            return self._refused("wrong list", "Classify", request)
        if choice == 3:
            items = [r.UpsertItem(id="a", input=one)] * count
            upsert = r.UpsertRequest(collection="pictures", items=items)
            return self._refused("wrong list", "Upsert", upsert)
        delete = r.DeleteRequest(collection="pictures", ids=[] if empty else ["x"] * 100_001)
        return self._refused("wrong list", "Delete", delete)

    def wrong_names(self) -> Hostile:
        name = self._rng.choice(_NAMES)
        choice = self._rng.randrange(5)
        if choice == 0:
            create = r.CreateCollectionRequest(name=name, modality="image", query_modality="text")
            return self._refused("wrong name", "CreateCollection", create)
        if choice == 1:
            drop = r.DropCollectionRequest(name=name)
            return self._refused("wrong name", "DropCollection", drop, MISSING)
        if choice == 2:
            search = r.SearchRequest(collection=name, input=e.Input(text="a"))
            return self._refused("wrong name", "Search", search, MISSING)
        if choice == 3:
            request = e.EmbedRequest()
            request.items.add(input=e.Input(text="a bird"), target=name or "smell")
            return self._embed("wrong name", request, items=1, errors={0})
        # No model is called so; what isn't a header can't be sent as one.
        header = "".join(c for c in name if " " < c < "\x7f") or "nobody"
        return self._refused(
            "wrong name", "GetModel", e.GetModelRequest(), MISSING, (("imp-model", header),)
        )

    def wrong_vectors(self) -> Hostile:
        dim = self._dim
        wrong = self._rng.choice([math.nan, math.inf, -math.inf])
        values: list[float] = [self._rng.gauss(0, 1) for _ in range(dim)]
        choice = self._rng.randrange(3)
        if choice == 0:
            values[self._rng.randrange(dim)] = wrong
        elif choice == 1:
            values = values[: self._rng.choice([0, 1, dim - 1])] if dim > 1 else []
        else:
            values = [0.0] * dim
        vector = r.Vector(values=values)
        if self._rng.random() < 0.5:
            search = r.SearchRequest(collection="pictures", vector=vector)
            return self._refused("wrong vector", "Search", search)
        upsert = r.UpsertRequest(collection="pictures")
        upsert.items.add(id="bad", vector=vector)
        data = upsert.SerializeToString()
        return Hostile("wrong vector", "Upsert", (data,), frozenset([OK]), 1, frozenset([0]))

    def wrong_texts(self) -> Hostile:
        text = self._rng.choice(
            ["", " \n\t", "a\0b", "\x1b[31m", "x" * 16_385, "\u202e" * 9_000, "\x07"]
        )
        if self._rng.random() < 0.3:  # not UTF-8, where the message says it is
            request = e.EmbedRequest()
            request.items.add(input=e.Input(text="MARK" * 3), target="image")
            data = request.SerializeToString().replace(b"MARK", b"\xff\xfe\xc0\x80"[:4])
            return Hostile("wrong text", "Embed", (data,), frozenset([BAD]))
        request = e.EmbedRequest()
        request.items.add(input=e.Input(text=text), target="image")
        request.items.add(input=e.Input(text="a bird"), target="image")
        return self._embed("wrong text", request, items=2, errors={0})

    def wrong_numbers(self) -> Hostile:
        big = self._rng.choice([1_001, 1 << 20, 2**32 - 1])
        if self._rng.random() < 0.5:
            search = r.SearchRequest(collection="pictures", input=e.Input(text="a"), k=big)
            return self._refused("wrong number", "Search", search)
        request = e.ClassifyRequest(
            inputs=[e.Input(image=self._file_of("PNG"))], class_names=["a", "b"], top_k=big
        )
        return self._refused("wrong number", "Classify", request)

    def wrong_callers(self) -> Hostile:
        header = self._rng.choice(["", "Bearer", "Bearer nobody", "Basic YTpi", "Bearer x" * 500])
        return self._refused(
            "wrong caller",
            "Embed",
            e.EmbedRequest(items=[e.EmbedItem(input=e.Input(text="a"), target="image")]),
            UNKNOWN_CALLER,
            (("authorization", header),),
        )

    def damaged_stream(self) -> Hostile:
        good = e.EmbedRequest()
        good.items.add(input=e.Input(text="a bird"), target="image")
        data = good.SerializeToString()
        messages = [data] * self._rng.randint(1, 4)
        bad = self._rng.choice([b"", b"\xff\xff", data[:-1]])
        messages.insert(self._rng.randrange(len(messages) + 1), bad)
        return Hostile("damaged stream", "EmbedStream", tuple(messages), frozenset([BAD]))

    def bomb(self) -> Hostile:
        """More bytes than a message may hold, as they are or made so by gzip."""
        gzip = self._rng.random() < 0.5
        request = e.EmbedRequest(items=[e.EmbedItem(input=e.Input(image=bytes(65 << 20)))])
        return Hostile(
            "bomb",
            "Embed",
            (request.SerializeToString(),),
            frozenset([FULL]),
            compression=grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        )

    def _sound(self) -> list[tuple[str, Message]]:
        picture = e.Input(image=self._file_of("PNG"))
        embed = e.EmbedRequest()
        embed.items.add(input=picture, target="text")
        embed.items.add(input=e.Input(text="a bird"), target="image")
        upsert = r.UpsertRequest(collection="pictures")
        upsert.items.add(id="one", input=picture, metadata={"key": filters.to_value("value")})
        return [
            ("Embed", embed),
            ("Classify", e.ClassifyRequest(inputs=[picture], class_names=["a", "b"], top_k=1)),
            ("Upsert", upsert),
            ("Search", r.SearchRequest(collection="pictures", input=e.Input(text="a bird"), k=3)),
            ("Delete", r.DeleteRequest(collection="pictures", ids=["one", "two"])),
            (
                "CreateCollection",
                r.CreateCollectionRequest(name="pictures", modality="image", query_modality="text"),
            ),
        ]

    def _file_of(self, kind: str) -> bytes:
        pixels = np.frombuffer(self._rng.randbytes(16 * 16 * 3), np.uint8).reshape(16, 16, 3)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        return file.getvalue()

    def _damage(self, data: bytes) -> bytes:
        rng, found = self._rng, bytearray(data)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(found) + 1)
            match rng.randrange(5):
                case 0:
                    del found[place:]
                case 1 if place < len(found):
                    found[place] ^= 1 << rng.randrange(8)
                case 2:
                    found[place:place] = rng.randbytes(rng.randint(1, 64))
                case 3:
                    found += found[place : place + 200]
                case _:
                    del found[place : place + rng.randint(1, 64)]
        return bytes(found)

    def _embed(
        self, kind: str, request: e.EmbedRequest, *, items: int, errors: Collection[int] = ()
    ) -> Hostile:
        data = request.SerializeToString()
        return Hostile(kind, "Embed", (data,), frozenset([OK]), items, frozenset(errors))

    def _refused(
        self,
        kind: str,
        method: str,
        request: Message,
        code: str = BAD,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Hostile:
        data = request.SerializeToString()
        return Hostile(kind, method, (data,), frozenset([code]), metadata=metadata)
