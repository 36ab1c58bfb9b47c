"""Micro-batches that are not full when the stream ends."""

import json
from pathlib import Path

from service.domain.stream.events import RefusalReason
from service.domain.stream.partitioning import assign_partitions
from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.acceptance.test_hostile_stream import changed, letters

ESTIMATOR = '''
"""A classifier that does not bear one kind of event."""

from river import naive_bayes


class Delicate(naive_bayes.GaussianNB):
    """Throws at one value."""

    def learn_one(self, x, y):
        if x["long_url"] == 0.111:
            raise ValueError("not this one")
        super().learn_one(x, y)

    def learn_many(self, X, y):
        if 0.111 in X["long_url"].to_list():
            raise ValueError("not these")
        super().learn_many(X, y)
'''


def test_refusals_stand_under_their_own_partition(tmp_path: Path) -> None:
    """What is refused in the last batch of a partition is a dead letter of that partition, whichever it is."""
    (tmp_path / "delicate.py").write_text(ESTIMATOR, encoding="utf-8")
    model = {**PHISHING, "factory": "delicate:Delicate", "learn": {"batch": 1000}}
    del model["estimator"]
    deployment = Deployment(tmp_path, model)
    events, bad = phishing_events(80), (10, 23, 37, 44, 51)
    for place in bad:
        one = json.loads(events[place])
        events[place] = changed(one, x={**one["x"], "long_url": 0.111})
    keys = [b"%d" % number for number in range(len(events))]
    deployment.publish(events, partitions=4, keys=keys)
    deployment.command("learn", "--until-end")
    homes = assign_partitions(len(events), partitions=4, keys=keys, first_partition=0)
    expected = {(at, held.index(place)) for place in bad for at, held in enumerate(homes) if place in held}
    assert len({partition for partition, _ in expected}) > 1
    found = letters(deployment)
    assert {(letter.at.partition, letter.offset) for letter in found} == expected
    assert {letter.reason for letter in found} == {RefusalReason.ESTIMATOR_FAILED}
