"""What an auditor does beyond verifying: run the day again, and write down what was found."""

from dso.audit.replay import ReplayReport, RunReplay, replay_bundle

__all__ = ["ReplayReport", "RunReplay", "replay_bundle"]
