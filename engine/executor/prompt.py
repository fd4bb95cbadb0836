"""Prompts from templates: sandboxed, strict, versioned, and the same bytes for the same context."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePath
from typing import Final

import jinja2
import jinja2.meta
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment

import engine
from engine.core.errors import ConfigError
from engine.executor.budget import data_block, estimate_tokens, fit
from engine.executor.context import Context
from engine.executor.wire import SCHEMA_NAME

_HEADER: Final = re.compile(r"\{#-?\s*(.*?)\s*-?#\}", re.DOTALL)
_KEYS: Final = ("name", "version", "schema")
CHOICE: Final = "edgewise.choice/1"  # the schema of a judge's answer
_PARTS: Final = ("system", "user")
_EXAMPLE: Final = (
    '{"symbol": "%s", "signal": "hold", "reasoning": "...", "leverage": null, "position_size_usd": null, '
    '"entry_price": null, "stop_loss": null, "take_profit": null, "risk_usd": null, "confidence": 0.6, '
    '"close_fraction": null, "invalidation_condition": "..."}'
)


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. `version` names both templates; `digest` is the sha256 of both texts."""

    system: str
    user: str
    version: str
    digest: str
    tokens: int  # upper estimate of both


def prompts_folder() -> Path:
    """Where edgewise's own templates lie: in the installed package, else in the repository."""
    package = Path(engine.__file__).parent
    packaged = package / "share" / "prompts"
    return packaged if packaged.is_dir() else package.parent / "prompts"


class PromptLibrary:
    """The templates `system/*.j2` and `user/*.j2` of a folder; what it lacks, edgewise's own."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or prompts_folder()
        self._loader = jinja2.FileSystemLoader([self._folder, prompts_folder()])
        self._environment = ImmutableSandboxedEnvironment(
            loader=self._loader,
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            auto_reload=False,  # an edit counts from the next start, when its version is read too
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def names(self, kind: str) -> list[str]:
        """Templates of `kind` (system or user) that a trader may name."""
        folders = (self._folder, prompts_folder())
        found = {path.stem for folder in folders for path in (folder / kind).glob("*.j2")}
        return sorted(found - {"rules", "repair"})

    def pair(self, system: str = "", user: str = "") -> PromptPair:
        """Two templates by name or path; "" is `default`. Raises ConfigError when one cannot be used.

        A path of nof0 (`prompts/manager/aggressive_short.tmpl`) finds the template of the same name.
        """
        extra = (self._load("user/repair.j2"), *(self._load(f"judge/{part}.j2", CHOICE) for part in _PARTS))
        return PromptPair(self._template("system", system), self._template("user", user), *extra)

    def _template(self, kind: str, name: str) -> Template:
        stem = PurePath(name or "default").stem.removesuffix("_prompt")
        if stem not in self.names(kind):
            raise ConfigError(f"no {kind} prompt {name!r}; known: {', '.join(self.names(kind))}")
        return self._load(f"{kind}/{stem}.j2")

    def _load(self, path: str, schema: str = SCHEMA_NAME) -> Template:
        """A template with its version and the versions of those that it includes."""
        try:
            body = self._environment.get_template(path)
            included = jinja2.meta.find_referenced_templates(self._environment.parse(self._source(path)))
            facts = self._header(path, schema)
            version = f"{path.removesuffix('.j2')}@{facts['version']}"
            for other in sorted(each for each in included if each):
                version += f"+{PurePath(other).stem}@{self._header(other, schema)['version']}"
        except jinja2.TemplateError as error:
            raise ConfigError(f"{self._folder / path}: {error}") from error
        return Template(body, version)

    def _source(self, path: str) -> str:
        return self._loader.get_source(self._environment, path)[0]

    def _header(self, path: str, schema: str) -> dict[str, str]:
        header = _HEADER.match(self._source(path))
        facts = _facts(header[1].splitlines() if header else [])
        if missing := [key for key in _KEYS if not facts.get(key)]:
            raise ConfigError(f"{self._folder / path}: the header comment lacks {', '.join(missing)}")
        if facts["schema"] != schema:
            raise ConfigError(f"{self._folder / path}: schema {facts['schema']!r}, expected {schema!r}")
        return facts


class Template:
    """One template with its version."""

    def __init__(self, body: jinja2.Template, version: str) -> None:
        self._body = body
        self.version = version

    def render(self, **values: object) -> str:
        """Raises ConfigError when the template asks for what is not there, or for what it may not have."""
        try:
            return self._body.render(**values).strip()
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError) as error:
            raise ConfigError(f"prompt {self.version}: {error}") from error


class PromptPair:
    """A trader's system and user template, with those for a repair and for a judge, ready to be rendered."""

    def __init__(
        self, system: Template, user: Template, repair: Template, judge_system: Template, judge_user: Template
    ) -> None:
        self._decide = (system, user)
        self._repair = repair
        self._judge = (judge_system, judge_user)

    def render(self, context: Context, budget_tokens: int, core: str = "") -> Prompt:
        """The prompt for `context`, cut to the budget; `core` is what the trader holds to, in Markdown.

        `tokens` may be above the budget when nothing more could be cut: then it is not to be sent. Raises
        ConfigError when a template cannot be rendered.
        """
        return _fitted(self._decide, context, budget_tokens, core=core)

    def judge(self, context: Context, budget_tokens: int, core: str, proposals: str) -> Prompt:
        """The prompt that lets a model choose among proposals; otherwise as `render`."""
        return _fitted(self._judge, context, budget_tokens, core=core, proposals=proposals)

    def repair(self, problem: str) -> str:
        """The message that asks for a corrected answer."""
        return self._repair.render(problem=problem)


def _fitted(
    templates: tuple[Template, Template], context: Context, budget_tokens: int, **more: str
) -> Prompt:
    system_template, user_template = templates
    symbols = [market.symbol for market in context.market]
    example = _EXAMPLE % (symbols[0] if symbols else "BTC-USDT-SWAP")
    system = system_template.render(symbols=symbols, limits=context.limits, example=example, **more)

    def user_of(shown: Context) -> str:
        return user_template.render(context=shown, data=data_block(shown), symbols=symbols, **more)

    left = budget_tokens - estimate_tokens(system)
    user = user_of(fit(context, lambda shown: estimate_tokens(user_of(shown)) <= left))
    return Prompt(
        system=system,
        user=user,
        version=f"{system_template.version} {user_template.version}",
        digest=hashlib.sha256(f"{system}\0{user}".encode()).hexdigest(),
        tokens=estimate_tokens(system) + estimate_tokens(user),
    )


def _facts(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
