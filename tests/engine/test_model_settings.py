"""Settings of a model call: what goes over what, and what they look like as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from openai import Omit
from openai.types.shared import Reasoning

from runs.engine.model_settings import (
    MCPToolChoice,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
)


def never(context: Any) -> bool:
    return False


def test_nothing_is_set_by_default() -> None:
    assert set(ModelSettings().to_json_dict().values()) == {None}


def test_override_covers_what_it_sets_and_nothing_else() -> None:
    agent = ModelSettings(temperature=0.5, store=True, metadata={"a": "1"})
    run = ModelSettings(temperature=0.0, store=False, metadata={"b": "2"})

    assert agent.resolve(run) == run
    assert agent.resolve(ModelSettings(max_tokens=9)) == ModelSettings(
        temperature=0.5, store=True, metadata={"a": "1"}, max_tokens=9
    )
    assert agent.resolve(None) is agent
    assert agent.temperature == 0.5


def test_override_may_be_a_dict() -> None:
    settings = ModelSettings(temperature=0.5).resolve({"top_p": 1.0, "store": None})

    assert settings == ModelSettings(temperature=0.5, top_p=1.0)
    with pytest.raises(TypeError, match="temprature"):
        ModelSettings().resolve({"temprature": 1})
    with pytest.raises(TypeError, match="not a int"):
        ModelSettings().resolve(3)  # type: ignore[arg-type]


def test_extra_args_are_merged_by_name() -> None:
    agent = ModelSettings(extra_args={"seed": 1, "user": "ada"})

    assert agent.resolve(ModelSettings(extra_args={"seed": 2})).extra_args == {
        "seed": 2,
        "user": "ada",
    }
    assert agent.resolve(ModelSettings(extra_args={})).extra_args == agent.extra_args


def test_retry_is_merged_to_its_last_part() -> None:
    agent = ModelSettings(
        retry=ModelRetrySettings(
            max_retries=2,
            backoff=ModelRetryBackoffSettings(initial_delay=1.0, max_delay=9.0),
            policy=never,
        )
    )
    run = ModelSettings(
        retry=ModelRetrySettings(
            max_retries=0, backoff=ModelRetryBackoffSettings(max_delay=3.0)
        )
    )

    merged = agent.resolve(run).retry

    assert merged == ModelRetrySettings(
        max_retries=0,
        backoff=ModelRetryBackoffSettings(initial_delay=1.0, max_delay=3.0),
        policy=never,
    )
    assert agent.resolve(ModelSettings(store=True)).retry == agent.retry
    assert ModelSettings().resolve(agent).retry == agent.retry


def test_nested_settings_may_be_dicts() -> None:
    given: dict[str, Any] = {
        "reasoning": {"effort": "low"},
        "tool_choice": {"server_label": "shop", "name": "refund"},
        "retry": {"max_retries": 1, "backoff": {"jitter": False}},
    }

    settings = ModelSettings.of(given)

    assert settings.reasoning == Reasoning(effort="low")
    assert settings.tool_choice == MCPToolChoice("shop", "refund")
    assert settings.retry == ModelRetrySettings(
        1, ModelRetryBackoffSettings(jitter=False)
    )
    assert ModelSettings(**given) == settings


@pytest.mark.parametrize(
    "given",
    [
        {"temprature": 1},
        {"retry": {"retries": 1}},
        {"retry": {"backoff": {"delay": 1}}},
        {"tool_choice": {"label": "shop"}},
    ],
)
def test_unknown_names_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        ModelSettings(**given)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_timeout_is_a_time(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        ModelSettings(timeout=timeout)


@pytest.mark.parametrize("name", ["initial_delay", "max_delay", "multiplier"])
def test_backoff_is_not_below_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ModelSettings.of({"retry": {"backoff": {name: -1.0}}})


def test_json_holds_every_setting_and_no_code() -> None:
    settings = ModelSettings(
        temperature=0.5,
        reasoning=Reasoning(effort="low"),
        tool_choice=MCPToolChoice("shop", "refund"),
        extra_headers={"X-Team": "desk", "User-Agent": Omit()},
        retry=ModelRetrySettings(2, ModelRetryBackoffSettings(jitter=False), never),
        timeout=3,
    )

    plain = settings.to_json_dict()

    assert len(plain) == 25
    assert plain["reasoning"]["effort"] == "low"
    assert plain["tool_choice"] == {"server_label": "shop", "name": "refund"}
    assert plain["extra_headers"] == {"X-Team": "desk", "User-Agent": None}
    assert plain["retry"] == {
        "max_retries": 2,
        "backoff": {
            "initial_delay": None,
            "max_delay": None,
            "multiplier": None,
            "jitter": False,
        },
    }
    assert ModelSettings.of(plain).to_json_dict() == plain


def test_a_trace_sees_nothing_extra() -> None:
    settings = ModelSettings(
        temperature=0.5, extra_headers={"Authorization": "secret"}, extra_args={"a": 1}
    )

    traced = settings.to_traceable_dict()

    assert traced["temperature"] == 0.5
    assert not {name for name in traced if name.startswith("extra_")}
    assert settings.extra_args == {"a": 1}
