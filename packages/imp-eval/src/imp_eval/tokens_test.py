"""Bearer tokens: the file, the rates, and both through the wire."""

import pathlib

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from imp_eval.calls import methods
from imp_eval.cli import main
from imp_eval.client import Client, Options, text
from imp_eval.conftest import refused, running
from imp_eval.server_config import ServerConfig
from imp_eval.tokens import Caller, RateLimitError, Tokens, UnauthenticatedError, new_token
from imp_proto.v1 import embedding_pb2


def test_a_rate_is_kept_and_debt_is_paid_off() -> None:
    now = 0.0
    caller = Caller("a", 10.0, clock=lambda: now)
    caller.check()
    caller.charge(25)  # a call may hold more than is left
    with pytest.raises(RateLimitError, match="a has used up its 10 items a second") as told:
        caller.check()
    assert told.value.retry_after == pytest.approx(1.6)
    now += told.value.retry_after
    caller.check()
    now += 1_000.0  # idle time is saved up for no more than a second's items
    caller.charge(10)
    with pytest.raises(RateLimitError):
        caller.check()
    unbounded = Caller("b", None)
    unbounded.charge(10**9)
    unbounded.check()
    served, caller = 0, Caller("c", 20.0, clock=lambda: now)
    for _ in range(1_000):
        now += 0.01
        if caller.debt() == 0:
            caller.charge(3)
            served += 3
    assert served == pytest.approx(200, abs=25)


def test_the_file_of_tokens(tmp_path) -> None:
    path = tmp_path / "tokens"
    secret, line = new_token("ann", 5.0)
    other, plain = new_token("bob", None)
    path.write_text(f"# who may call\n\n{line}  # until May\n{plain}\n")
    assert secret not in path.read_text()
    tokens = Tokens.load(path)
    ann = tokens.authenticate({"authorization": f"Bearer {secret}"})
    assert (ann.name, ann.rate) == ("ann", 5.0)
    assert tokens.authenticate({"authorization": f"bearer {other}"}).rate is None
    for header in ("", "Bearer", "Bearer ", f"Basic {secret}", f"Bearer {secret}x", "Bearer é"):
        with pytest.raises(UnauthenticatedError):
            tokens.authenticate({"authorization": header})
    for wrong, message in [
        ("ann 1234", "line 1: '1234' is no SHA-256"),
        (b"\x95\xff", "is no text; write a line of `imp-eval token NAME`"),
        (f"{plain} fast", "line 1: 'fast' is no number of items per second"),
        (f"{plain} -1", "above 0"),
        (f"{plain} inf", "above 0"),
        (f"{plain} 1 2", "give a name without spaces"),
        ("# nothing", "holds no token"),
    ]:
        path.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
        with pytest.raises(ValueError, match=message):
            Tokens.load(path)
    with pytest.raises(FileNotFoundError, match="no tokens file"):
        Tokens.load(tmp_path / "gone")
    with pytest.raises(ValueError, match="must be one word"):
        new_token("two words", None)


def test_tokens_through_the_wire(bundle_path, cache, tmp_path, capsys, monkeypatch) -> None:
    assert main(["token", "ann"]) == 0
    told = capsys.readouterr().out.split()
    secret, line = told[4], " ".join(told[-2:])
    slow, slow_line = new_token("slow", 4.0)
    path: pathlib.Path = tmp_path / "tokens"
    path.write_text(f"{line}\n{slow_line}\n")
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1, tokens=path)
    with running(bundle_path, config) as address:
        for token, message in ((None, "carries no token"), ("nonsense", "token is unknown")):
            with Client(address, options=Options(token=token)) as client:
                with refused("UNAUTHENTICATED", message):
                    client.model()
                with refused("UNAUTHENTICATED", message):
                    list(client.embed_stream([text("a")], "image"))
        with Client(address, options=Options(token=secret)) as client:
            assert len(client.embed([text("a")] * 100, "image")) == 100
            client.model()
        # A rate's refusal says when to come back, in both ways that clients read.
        with grpc.insecure_channel(address) as channel:
            embed = methods(channel)["Embed"]
            items = [embedding_pb2.EmbedItem(input=text("a"), target="image")] * 6
            metadata = Options(token=slow).metadata
            embed(embedding_pb2.EmbedRequest(items=items), metadata=metadata)
            with pytest.raises(grpc.RpcError) as error:
                embed(embedding_pb2.EmbedRequest(items=items), metadata=metadata)
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "slow has used up its 4 items a second" in error.value.details()
            [detail] = rpc_status.from_call(error.value).details
            info = error_details_pb2.RetryInfo()
            assert detail.Unpack(info)
            assert 0 < info.retry_delay.ToMilliseconds() < 1_500
            # The health check is for load balancers, who have none; the rest is not.
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
            with pytest.raises(grpc.RpcError, match="carries no token"):
                next(listing)
        # A client waits as it is told, and a stream is slowed down instead.
        with Client(address, attempts=20, options=Options(token=slow)) as client:
            assert len(client.embed([text("b")], "image")) == 1
            assert len(list(client.embed_stream([text("c")] * 3, "image"))) == 3
        monkeypatch.setenv("IMP_TOKEN", secret)
        assert main(["embed", "--text", "hi", "--target", "image", "--address", address]) == 0
