"""Rules on records made by hand."""

from benchmark.selection import Record, last_step, oracle, source_validation

RECORDS = [Record(10, 0.5, 0.40), Record(20, 0.7, 0.20), Record(30, 0.7, 0.35), Record(40, 0.6, 0.30)]


def test_source_validation_takes_the_later_of_equals():
    assert source_validation(RECORDS) == 2


def test_the_last_step_is_the_last():
    assert last_step(RECORDS) == 3


def test_only_the_oracle_rule_looks_at_the_target():
    assert oracle(RECORDS) == 0
    blind = [Record(record.step, record.source_val_miou, float("nan")) for record in RECORDS]
    assert (source_validation(blind), last_step(blind)) == (2, 3)
