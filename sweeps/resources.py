"""What a trial takes of a machine; no part of any id, as it can't change a result."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Resources(BaseModel):
    """What each worker of a trial takes; None where nobody has said.

    Attributes:
        cpus: cores.
        gpus: a fraction below 1, which shares a GPU, or whole ones.
        workers: processes that train together, each with the cores and GPUs above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: int | None = Field(default=None, ge=1)
    gpus: float | None = Field(default=None, ge=0)
    workers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _whole_or_shared(self) -> Resources:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(
                f"gpus is {self.gpus:g}; a fraction below 1 or a whole number is right"
            )
        return self

    def over(self, other: Resources) -> Resources:
        """These where they are said, the other's where not."""
        mine = self.model_dump(exclude_none=True)
        return Resources(**{**other.model_dump(exclude_none=True), **mine})

    def largest(self, other: Resources) -> Resources:
        """The larger of both in each part: for a trial that two sweeps share."""

        def more(one: float | None, two: float | None) -> float | None:
            said = [value for value in (one, two) if value is not None]
            return max(said, default=None)

        parts = {
            name: more(getattr(self, name), getattr(other, name))
            for name in type(self).model_fields
        }
        return Resources.model_validate(parts)
