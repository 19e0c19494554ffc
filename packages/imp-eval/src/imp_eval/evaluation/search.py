"""Cross-modal retrieval: words find pictures, clips and sounds, these their words, and each other.

Legend: q queries, n items, k numbers in an embedding.
"""

import collections
import functools
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from imp_eval import retrieval
from imp_eval.evaluation.benchmark import Benchmark
from imp_eval.evaluation.encodings import Encodings
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.results import Score, TaskResult

RETRIEVAL = "retrieval"
_RECALLS = (1, 5, 10)
# Queries scored at a time: their scores of all items are held.
_BLOCK = 512


def directions(encodings: Encodings, benchmark: Benchmark) -> list[tuple[str, str]]:
    """(query, answers) of each search that the benchmark and the bundle allow."""
    pairs = encodings.encoder.pairs
    own = benchmark.modalities
    between = [(a, b) for a in own for b in own if (a, b) in pairs]
    if not any(benchmark.test.texts):
        return between
    with_text = [m for m in own if (m, "text") in pairs]
    return [p for m in with_text for p in (("text", m), (m, "text"))] + between


def searched(
    encodings: Encodings, benchmark: Benchmark, query: str, answers: str, bootstrap: Bootstrap
) -> TaskResult:
    """One direction. Raises ValueError where nothing is left to search."""
    if "text" not in (query, answers):
        return _between(encodings, benchmark, query, answers, bootstrap)
    modality = answers if query == "text" else query
    features = encodings.features(benchmark, benchmark.test, modality)
    held = (benchmark.test.texts[i] for i in features.usable.tolist())
    texts = [[text for text in own if text.strip()][: benchmark.max_texts] for own in held]
    kept = np.array([place for place, own in enumerate(texts) if own], np.int64)
    words, links = pairs_of([texts[i] for i in kept.tolist()], by_pair=benchmark.by_pair)
    items = features.embeddings(encodings.encoder, (modality, "text"))[kept]
    written = encodings.texts(words, modality)
    result = functools.partial(_searched, benchmark, query, answers, bootstrap)
    if query == "text":
        owners = links.indices[links.indptr[:-1]] if benchmark.by_pair else None
        return result(written, items, links, owners)
    return result(items, written, links.T.tocsr(), None)


def _between(
    encodings: Encodings, benchmark: Benchmark, query: str, answers: str, bootstrap: Bootstrap
) -> TaskResult:
    """One modality of an example finds another of the same example."""
    own = {m: encodings.features(benchmark, benchmark.test, m) for m in (query, answers)}
    both = np.intersect1d(own[query].usable, own[answers].usable)
    found = [
        features.embeddings(encodings.encoder, pair)[np.searchsorted(features.usable, both)]
        for features, pair in ((own[query], (query, answers)), (own[answers], (answers, query)))
    ]
    links = scipy.sparse.eye_array(len(both), dtype=bool, format="csr")
    return _searched(benchmark, query, answers, bootstrap, found[0], found[1], links, None)


def _searched(
    benchmark: Benchmark,
    query: str,
    answers: str,
    bootstrap: Bootstrap,
    queries: np.ndarray,
    items: np.ndarray,
    links: scipy.sparse.csr_array,
    groups: np.ndarray | None,
) -> TaskResult:
    """float32 [q, k] and [n, k]; `links` bool [q, n] are the right answers; queries of one of
    `groups` are drawn together by the bootstrap."""
    if not len(queries) or not len(items):
        raise ValueError(f"{benchmark.spec}: nothing is left to search ({query}→{answers})")
    blocks = [
        retrieval.Queries.of(
            queries[start : start + _BLOCK] @ items.T,
            links[start : start + _BLOCK].toarray(),
            ks=_RECALLS,
        )
        for start in range(0, len(queries), _BLOCK)
    ]
    found = retrieval.Queries.joined(blocks)
    whole = found.scores()
    modality = f"{query}→{answers}"
    make = functools.partial(
        Score.of, benchmark=benchmark.name, task=RETRIEVAL, modality=modality, n=len(queries)
    )
    scores = [
        make(
            whole.recall[k],
            bootstrap.mean(found.recall[k], groups),
            metric=f"R@{k}",
            chance=whole.chance_recall[k],
        )
        for k in _RECALLS
    ]
    scores.append(
        make(
            whole.median_rank,
            bootstrap.median(found.first_rank, groups),
            metric="median-rank",
            chance=whole.chance_median_rank,
        )
    )
    return TaskResult(
        benchmark=benchmark.name,
        task=RETRIEVAL,
        modality=modality,
        scores=tuple(scores),
        details={"items": len(items), "right": "pair" if benchmark.by_pair else "equal words"},
    )


def pairs_of(
    captions: Sequence[Sequence[str]], *, by_pair: bool
) -> tuple[list[str], scipy.sparse.csr_array]:
    """The texts to search by, and bool [texts, items]: which items each is of.

    `by_pair`: every caption is a text of its own; else equal captions are one, of several items.
    """
    numbers: dict[object, int] = {}
    words: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    for item, own in enumerate(captions):
        for place, text in enumerate(own):
            key = (item, place) if by_pair else text
            if key not in numbers:
                numbers[key] = len(words)
                words.append(text)
            rows.append(numbers[key])
            columns.append(item)
    # An item may have a caption twice.
    links = collections.Counter(zip(rows, columns, strict=True))
    places = np.array(sorted(links), np.int64).reshape(-1, 2)
    shape = (len(words), len(captions))
    ones = np.ones(len(places), bool)
    return words, scipy.sparse.csr_array((ones, (places[:, 0], places[:, 1])), shape=shape)
