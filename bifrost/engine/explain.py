"""What a call would do, determined with the functions that calls use. Nothing is sent, drawn or counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import msgspec

from bifrost.engine.attempt import target_of
from bifrost.errors import BifrostError, UnsupportedError
from bifrost.providers.base import operations_of
from bifrost.reports.explanation import Explanation, PlannedCandidate, PlannedKey, PlannedPlugin
from bifrost.reports.providers import KeyInfo, ProviderInfo, ProviderTable
from bifrost.routing.hedge import LEAST, leaves_room
from bifrost.routing.retry import attempt_deadline, may_fall_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.account import Key
    from bifrost.config import RetryConfig
    from bifrost.context import CallContext
    from bifrost.engine.providers.address import Address
    from bifrost.engine.providers.upstream import Upstream
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.plugins.base import Chain
    from bifrost.providers.base import Built
    from bifrost.routing.candidates import Candidate
    from bifrost.routing.failover import Likely
    from bifrost.routing.keys import KeyPool, KeySelection
    from bifrost.wire.secrets import Secret


async def explain(
    upstreams: Upstreams, context: CallContext, request: Any, chain: Chain, *, output: Any
) -> Explanation:
    """Describe what a call would do. Raises the error of a call that reaches no candidate."""
    places = await upstreams.outlook(context, extra=request.extra)
    candidates = [
        await _candidate(
            upstreams,
            context,
            msgspec.structs.replace(request, model=likely.candidate.model),
            likely.candidate,
            output=output,
            candidate_plan=PlannedCandidate(
                place=place,
                provider=likely.candidate.provider,
                model=likely.candidate.model,
                share=likely.share,
                passed_over=likely.passed_over,
            ),
            following=_following(places, place, likely),
        )
        for place, choices in enumerate(places)
        for likely in choices
    ]
    return Explanation(
        model=context.model,
        stream=context.is_stream,
        timeout=context.options.timeout,
        candidates=_without_last_resort(candidates),
        warnings=context.warnings,
        plugins=[PlannedPlugin(name=name, hooks=hooks) for name, hooks in chain.hooks_of_calls()],
    )


class _Following(NamedTuple):
    """The other candidates of a call that may be tried after one of them."""

    behind: int
    """The other members of its place that can serve, and the places after it."""
    any_ready: bool
    """Whether one of them can serve now."""
    any_left: bool
    """Whether there is one at all; members that were passed over are tried last."""


def _following(places: Sequence[Sequence[Likely]], place: int, likely: Likely) -> _Following:
    siblings = [each for each in places[place] if each is not likely]
    later = [each for choices in places[place + 1 :] for each in choices]
    passed_over = [each for choices in places[:place] for each in choices if each.passed_over is not None]
    return _Following(
        behind=len(places) - 1 - place + max(0, sum(each.passed_over is None for each in places[place]) - 1),
        any_ready=any(each.usable for each in (*siblings, *later)),
        any_left=bool(siblings or later or passed_over),
    )


def _without_last_resort(candidates: list[PlannedCandidate]) -> list[PlannedCandidate]:
    """Return the candidates; those that were passed over have no share if another one serves, if only after a wait."""
    if not any(each.passed_over is None and each.problem is None for each in candidates):
        return candidates
    return [each if each.passed_over is None else msgspec.structs.replace(each, share=0.0) for each in candidates]


async def _candidate(
    upstreams: Upstreams,
    context: CallContext,
    request: Any,
    candidate: Candidate,
    *,
    output: Any,
    candidate_plan: PlannedCandidate,
    following: _Following,
) -> PlannedCandidate:
    """Add what a candidate would do, as far as it gets, in the order of the steps of a call."""
    checked_here: list[str] = []
    behind = following.behind
    try:
        upstream = await upstreams.prepare(candidate.provider)
        candidate_plan = _with_state(upstreams, upstream, context, candidate_plan, behind=behind)
        candidate_plan = msgspec.structs.replace(candidate_plan, address_from=upstreams.address_from(upstream.name))
        structured = context.operation.structured
        if output is not None and structured is not None:
            rules = upstream.row.schema_rules
            modes = upstream.row.structured_modes(candidate.model)
            mode = structured.choose_mode(output, request, modes, provider=upstream.name, rules=rules)
            candidate_plan = msgspec.structs.replace(candidate_plan, structured=mode)
            request = structured.lower(request, output, mode, rules)
            checked_here = structured.shortfalls(output, mode, rules)
        codec = upstream.codec(context.endpoint)
        if context.is_stream and codec.decoder is None:
            raise UnsupportedError(f"{upstream.name} does not stream {context.endpoint}", provider=upstream.name)
        ring = await upstreams.keys(candidate.provider, context)
        state = upstream.health.state(
            candidate_plan.model, upstream.now(), fallback=behind > 0, addresses=ring.addresses
        )
        candidate_plan = msgspec.structs.replace(candidate_plan, breaker=state, left_out=ring.left_out(candidate.model))
        options = context.options
        choices = ring.outlook(candidate.model, pin=options.key, session=options.session, now=upstream.now())
        now = upstream.now()
        serving = {choice.address for choice, _ in choices}
        candidate_plan = msgspec.structs.replace(
            candidate_plan,
            keys=[_key(upstream, choice, share, candidate_plan.model, behind=behind) for choice, share in choices],
            breaker=upstream.health.state(candidate_plan.model, now, fallback=behind > 0, addresses=serving),
        )
        likeliest = max(choices, key=lambda pair: pair[1])[0]
        upstream.health.check(candidate.model, now, fallback=behind > 0, addresses=ring.addresses)
        resting = ring.resting(candidate.model, now=now, pin=options.key)
        if resting is not None:
            # Raises what a call gets that does not wait for the first key.
            ring.waits(
                resting, now=now, left=candidate_plan.time or options.timeout, fallback_behind=following.any_ready
            )
            likeliest = resting
        # An attempt is admitted at the address of its own key.
        upstream.health.check(candidate.model, now, fallback=behind > 0, addresses=(likeliest.address,))
        retry = upstreams.retry_of(upstream.name, options)
        candidate_plan = msgspec.structs.replace(
            candidate_plan,
            hedge=_hedge(
                upstream, context, ring, candidate_plan.model, first=likeliest.name, retry=retry, behind=behind
            ),
        )
        address = upstream.address_of(likeliest.key)
        built = codec.build(request, target_of(upstream, likeliest, address, stream=context.is_stream))
        upstream.complete(
            built.request,
            likeliest.key,
            _secret_of(upstreams, upstream, likeliest.key),
            extra_headers=upstream.headers_of(options, context.id),
            address=address,
        )
        return _with_request(address, built, candidate_plan, warnings=[*built.warnings, *checked_here])
    except BifrostError as error:
        goes_on = following.any_left and may_fall_back(
            error,
            config=upstreams.retry_of(candidate.provider, context.options),
            attempts_of_call=0,
            remaining=context.options.timeout,
        )
        return msgspec.structs.replace(candidate_plan, problem=error.message, goes_on=goes_on)


def _secret_of(upstreams: Upstreams, upstream: Upstream, key: Key | None) -> Secret | None:
    """Return what would be sent with a key; `None` if its token is not known, because none is fetched here."""
    if key is None or key.value is not None:
        return None if key is None else key.value
    tokens, config = upstreams.tokens, upstream.config.key_pool
    return tokens.current(tokens.of(key.credentials), refresh_before=config.refresh_before)


def _with_state(
    upstreams: Upstreams, upstream: Upstream, context: CallContext, candidate_plan: PlannedCandidate, *, behind: int
) -> PlannedCandidate:
    load = upstream.pool.load(is_stream=context.is_stream)
    config = upstream.config
    timeouts = attrs.asdict(config.timeouts)
    if not context.is_stream:
        # These are a stream's alone.
        timeouts = {name: timeouts[name] for name in ("connect", "write")}
    retry = attrs.asdict(upstreams.retry_of(upstream.name, context.options))
    return msgspec.structs.replace(
        candidate_plan,
        in_flight=upstream.pool.in_flight,
        waiting=upstream.pool.waiting,
        concurrency=config.concurrency,
        limit=None if upstream.adaptive is None else upstream.adaptive.limit,
        is_full=load.is_full,
        breaker=upstream.health.state(candidate_plan.model, upstream.now(), fallback=behind > 0),
        time=attempt_deadline(0.0, context.options.timeout, behind),
        timeouts=timeouts,
        retry={name: value for name, value in retry.items() if type(value) in (int, float, str)},
    )


def _hedge(
    upstream: Upstream,
    context: CallContext,
    ring: KeyPool,
    model: str,
    *,
    first: str,
    retry: RetryConfig,
    behind: int,
) -> str | None:
    """Describe whether and when a second attempt would follow, as far as that is known in advance."""
    hedging, now = upstream.health.hedging, upstream.now()
    if hedging is None or context.is_stream:
        return None
    left = context.options.timeout
    if not leaves_room(categories=(), attempts_of_call=1, config=retry, left=left, fallback_behind=behind > 0):
        return "none: the settings of retries leave no room for it"
    has_other = ring.has_other(model, excluded=(first,), pin=context.options.key, now=now)
    if not has_other and not hedging.config.same_key:
        return "none: no other key is ready"
    delay = hedging.delay(context.endpoint, model)
    if delay is None:
        return f"none until {LEAST} answers have come; {hedging.known(context.endpoint, model)} have"
    return f"a second attempt after {delay:.3g} s, with {'another key' if has_other else 'the same key'}"


def _with_request(
    address: Address, built: Built, candidate_plan: PlannedCandidate, *, warnings: list[str]
) -> PlannedCandidate:
    """Add the parts of a prepared request that may be shown, and the warnings of its response."""
    request = built.request
    return msgspec.structs.replace(
        candidate_plan,
        method=request.method,
        url=address.url.removesuffix(address.path) + request.shown_path,
        headers=sorted(request.headers),
        body=request.body,
        warnings=warnings,
    )


def _key(upstream: Upstream, choice: KeySelection, share: float, model: str, *, behind: int) -> PlannedKey:
    now = upstream.now()
    breaker = upstream.health.state(model, now, fallback=behind > 0, addresses=(choice.address,))
    return PlannedKey(
        name=choice.name,
        share=share,
        model=choice.model,
        state=None if choice.health is None else choice.health.snapshot(now).state,
        address=choice.address or None,
        breaker=None if breaker == "closed" else breaker,
    )


async def describe(upstreams: Upstreams) -> ProviderTable:
    """Describe how each provider is set up. One that cannot be used has its problem in its row."""
    planner = await upstreams.planner()
    return ProviderTable([await _provider(upstreams, name) for name in planner.providers])


async def _provider(upstreams: Upstreams, name: str) -> ProviderInfo:
    row = (await upstreams.planner()).providers[name]
    info = ProviderInfo(name=name, operations=operations_of(row), docs=row.docs, address=row.base_url or None)
    try:
        upstream = await upstreams.prepare(name)
        info = msgspec.structs.replace(
            info,
            address=None if upstream.address is None else upstream.address.url,
            address_from=upstreams.address_from(name),
            concurrency=upstream.config.concurrency,
            queue=upstream.config.queue,
        )
        ring = await upstreams.keys(name, None)
        info = msgspec.structs.replace(info, keys=[_key_info(key, ring.address(key) or None) for key in ring.keys])
        if not ring.keys:
            ring.outlook("")
    except BifrostError as error:
        return msgspec.structs.replace(info, problem=error.message)
    return info


def _key_info(key: Key, address: str | None) -> KeyInfo:
    return KeyInfo(
        address=address,
        name=key.name,
        weight=key.weight,
        enabled=key.enabled,
        models=None if key.models is None else list(key.models),
        deny=list(key.deny),
        aliases=dict(key.aliases),
    )
