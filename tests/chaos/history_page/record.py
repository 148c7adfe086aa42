"""The record of a campaign, which grows while the campaign runs, so that one that breaks off has a history too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.histories.recorder import Recorder
from tests.chaos.injector import InjectedFault


@dataclass
class CampaignRecord:
    """The requests and faults of a campaign, and where its events are."""

    recorder: Recorder = field(default_factory=Recorder)
    faults: Sequence[InjectedFault] = ()
    databases: Mapping[str, str] = field(default_factory=dict)
    """URLs, by names for people."""
    has_own_databases: bool = False
    """Whether no other campaign has used the databases. Otherwise events are told apart by their times."""
