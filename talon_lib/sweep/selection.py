"""Which points of its space a sweep takes, where not all: a sample, or those that a search asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from talon_lib.sweep.axes import Strict, listed

Positive = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class Sample(Strict):
    """A sample of the points: so many, at random or along a Sobol sequence."""

    random: Positive | None = Field(default=None, description="so many points, each as likely as any other")
    sobol: Positive | None = Field(default=None, description="so many points, which fill the space evenly; needs scipy")
    seed: Seed = Field(default=0, description="another seed is another sample")

    @model_validator(mode="after")
    def _one_method(self) -> Sample:
        if (self.random is None) == (self.sobol is None):
            raise ValueError("give either random or sobol, each with a number of points")
        return self

    @property
    def method(self) -> Literal["random", "sobol"]:
        """How points are drawn."""
        return "sobol" if self.random is None else "random"

    @property
    def count(self) -> int:
        """How many there are."""
        count = self.random or self.sobol
        assert count is not None
        return count


@dataclass(frozen=True)
class Objective:
    """A column of the table, and whether it is to be large or small (Optuna's words: maximize, minimize)."""

    column: str
    direction: Literal["maximize", "minimize"]


_DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {"max": "maximize", "min": "minimize"}


def objective(text: str) -> Objective:
    """Read ``accuracy max`` or ``energy_uj min``. Raises ValueError."""
    column, _, direction = text.strip().partition(" ")
    if direction.strip() not in _DIRECTIONS:
        raise ValueError(f"write a column and max or min, like 'accuracy max', not {text!r}")
    if not _is_numeric(column):
        raise ValueError(f"{column!r} is no column of numbers; docs/schema.md lists the columns")
    return Objective(column, _DIRECTIONS[direction.strip()])


def _is_numeric(column: str) -> bool:
    from pyarrow import types  # slow to import, and of all configurations only searches need it

    from talon_lib.sweep.schema import SCHEMA

    if column not in SCHEMA.names:
        return False
    kind = SCHEMA.field(column).type
    return bool(types.is_integer(kind) or types.is_floating(kind))


class Search(Strict):
    """A search for the points that none beats in all objectives, without trying them all."""

    method: Literal["nsga2", "tpe"] = Field(description="the optimiser, which is Optuna's")
    objectives: list[str] = Field(
        description="columns of the table, each with max or min: accuracy max, energy_uj min", min_length=1
    )
    budget: Positive = Field(description="different points that are tried at most")
    generation: Positive = Field(default=16, description="points that are asked for at once, and run side by side")
    seed: Seed = Field(default=0, description="another seed is another search")

    @field_validator("objectives", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("objectives")
    @classmethod
    def _legal(cls, texts: list[str]) -> list[str]:
        columns: set[str] = set()
        for text in texts:
            if (column := objective(text).column) in columns:
                raise ValueError(f"{column!r} is listed twice")
            columns.add(column)
        return texts

    @property
    def goals(self) -> tuple[Objective, ...]:
        """The objectives, in order."""
        return tuple(objective(text) for text in self.objectives)
