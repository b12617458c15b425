"""What a pass that trains gained, against its control: trained as long, on the same samples, without it."""

from __future__ import annotations

from dataclasses import dataclass

from muster_protos.model import Accuracy


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same metric of the same held-out samples."""

    treated: Accuracy
    control: Accuracy | None = None  # None = not asked for

    def figures(self) -> dict[str, float | int | str]:
        """For the record: value, interval and number of samples of both."""
        found: dict[str, float | int | str] = {"n": self.treated.n}
        for suffix, accuracy in (("", self.treated), ("_control", self.control)):
            if accuracy is None or accuracy.value is None:
                continue
            found[f"{accuracy.metric}{suffix}"] = round(accuracy.value, 6)
            if accuracy.ci_low is not None and accuracy.ci_high is not None:
                found[f"{accuracy.metric}{suffix}_low"] = round(accuracy.ci_low, 6)
                found[f"{accuracy.metric}{suffix}_high"] = round(accuracy.ci_high, 6)
        return found

    def sentence(self, control: str) -> str:
        """``accuracy 0.973 against 0.951 of <control>, on 220 held-out samples``."""
        metric, value = self.treated.metric, self.treated.value
        if value is None:
            return self.treated.unavailable_reason
        against = ""
        if self.control is not None and self.control.value is not None:
            against = f" against {self.control.value:.4g} of {control}"
        return f"{metric} {value:.4g}{against}, on {self.treated.n} held-out samples"
