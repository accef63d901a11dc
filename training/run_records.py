"""Which records a run learns from, and which it only looks at."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from corpus.records import Record, RecordError, read_records

HELD_OUT_SHARE = 20  # one record of so many, where no file of held-out records is given
LEAST_HELD_OUT = 4


def read_all(paths: Sequence[str] | None) -> list[Record]:
    """The records of all files, mixed by training itself.

    Raises:
        RecordError: If there is no file, no record, or two records of one id.
    """
    if not paths:
        raise RecordError(
            "nothing to train on; give --data RECORDS, as prepare.py writes them",
            "학습할 데이터가 없습니다. prepare.py가 만든 레코드 파일을 --data로 주세요.",
        )
    records: dict[str, Record] = {}
    for path in map(Path, paths):
        for record in read_records(path):
            if record.id in records:
                raise RecordError(
                    f"id {record.id} is in two files; give every record its own id",
                    f"id {record.id}이(가) 두 파일에 있습니다. 레코드마다 다른 id를 적어 주세요.",
                    path,
                )
            records[record.id] = record
    if not records:
        raise RecordError("the files hold no records", "레코드가 하나도 없습니다.", Path(paths[0]))
    return list(records.values())


def hold_out(records: Sequence[Record], held_out: str | None, count: int) -> tuple[list[Record], list[Record]]:
    """Records to train on, and records to look at, which training never sees; both in an order without a pattern.

    Args:
        held_out: File of held-out records; None takes `count` of the records away, at most one in twenty.
        count: How many will be looked at.
    Raises:
        RecordError: If a held-out video is also trained on.
    """
    shuffled = sorted(records, key=_digest)
    if held_out is None:
        count = min(count, len(records) // HELD_OUT_SHARE)
        return (shuffled[count:], shuffled[:count]) if count >= LEAST_HELD_OUT else (shuffled, [])
    kept = sorted(read_records(Path(held_out)), key=_digest)
    trained = {record.path for record in records}
    if both := [record for record in kept if record.path in trained]:
        raise RecordError(
            f"{len(both)} held-out clips are also trained on ({both[0].path}); the watch would praise what was learned"
            " by heart. Split them with prepare.py",
            f"점검용 영상 {len(both)}개가 학습 데이터에도 있습니다({both[0].path}). prepare.py로 나눠 주세요.",
            Path(held_out),
        )
    return shuffled, kept


def _digest(record: Record) -> bytes:
    return hashlib.sha256(record.id.encode()).digest()
