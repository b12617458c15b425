"""The plan: total, idempotent, convergent, and never careless with what must be kept."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from muster_agent.core import transitions
from muster_agent.core.known import (
    Conclusion,
    Facts,
    Known,
    Live,
    Run,
    ServingRecord,
    bad_key,
)
from muster_agent.core.known import test_key as key_of_test
from muster_agent.core.plan import MAX_RUN_STARTS, kept_artifacts, plan
from muster_agent.core.reported import reported_state
from muster_agent.core.serving_plan import MAX_STARTS
from muster_agent.core.steps import (
    Activate,
    Collect,
    Commit,
    FailBenchmark,
    FailLoad,
    Fetch,
    Forget,
    Resume,
    Rollback,
    RunBenchmark,
    RunLoad,
    SelfTest,
    Step,
    StopServing,
    may_yield,
    step_key,
)
from muster_agent.core.wanted import Wanted, WantedModel, supersedes
from muster_protos.model import (
    ArtifactRef,
    BenchmarkPhase,
    BenchmarkRequest,
    Configuration,
    DeploymentState,
    DesiredModel,
    LoadRequest,
    LocalReady,
    Rung,
    ServingGrant,
    Slo,
    VariantManifest,
)

MODELS = ("digits", "kws")
NAMES = ("fp32", "int8", "tiny")


def sha(text: str) -> str:
    return (text.encode().hex() * 64)[:64]


def manifest(model_id: str, name: str) -> VariantManifest:
    return VariantManifest(
        variant_id=f"{model_id}.v1.{name}",
        model_id=model_id,
        model_version=1,
        name=name,
        artifact=ArtifactRef(sha(f"{model_id}{name}"), 100),
        golden=ArtifactRef(sha(f"{model_id}{name}g"), 10),
        evaluation=ArtifactRef(sha(f"{model_id}e"), 20),
    )


def configuration(model_id: str, name: str) -> Configuration:
    return Configuration(f"{model_id}.v1.{name}", "onnxruntime", "cpu", 1)


def grant(model_id: str, deployment_id: str, names: tuple[str, ...] = NAMES, **more: object) -> ServingGrant:
    ladder = tuple(Rung(configuration(model_id, name), 1_000_000, 2_000_000, 0.9) for name in names)
    return replace(ServingGrant(deployment_id=deployment_id, ladder=ladder, slo=Slo(9_000_000, 95.0)), **more)


def model(model_id: str, serving: ServingGrant | None = None, names: tuple[str, ...] = NAMES) -> WantedModel:
    return WantedModel(DesiredModel(model_id, 1, (), serving), tuple(manifest(model_id, name) for name in names))


def everything(*models: WantedModel) -> frozenset[str]:
    return kept_artifacts(Wanted(models=models), Known())


# ---- strategies: anything at all, not only what a sane controller sends ----

model_ids = st.sampled_from(MODELS)
name_tuples = st.lists(st.sampled_from(NAMES), max_size=3).map(tuple)
deployment_ids = st.sampled_from(("d1", "d2", "d3"))


@st.composite
def grants(draw: st.DrawFn, model_id: str) -> ServingGrant:
    return grant(
        model_id,
        draw(deployment_ids),
        draw(name_tuples),
        is_committed=draw(st.booleans()),
        deadline_ns=draw(st.sampled_from((0, 5, 500))),
        pinned_variant_id=draw(st.sampled_from(("", f"{model_id}.v1.int8"))),
    )


@st.composite
def wanted_models(draw: st.DrawFn, model_id: str) -> WantedModel:
    return model(model_id, draw(st.none() | grants(model_id)), draw(name_tuples))


@st.composite
def wanteds(draw: st.DrawFn) -> Wanted:
    models = tuple(draw(wanted_models(model_id)) for model_id in draw(st.lists(model_ids, max_size=3)))
    requests = tuple(
        BenchmarkRequest(
            f"b{number}", draw(st.integers(0, 1)), configuration(draw(model_ids), draw(st.sampled_from(NAMES)))
        )
        for number in draw(st.lists(st.integers(0, 2), max_size=3))
    )
    loads = tuple(
        LoadRequest(
            f"l{number}", 0, draw(st.sampled_from(("", *MODELS))), expires_at_ns=draw(st.sampled_from((0, 5, 500)))
        )
        for number in draw(st.lists(st.integers(0, 1), max_size=2))
    )
    version = draw(st.integers(-1, 5))
    return Wanted("lab", "pi", draw(st.integers(0, 2)), version, models, requests, loads)


@st.composite
def records(draw: st.DrawFn, model_id: str) -> ServingRecord:
    granted = st.none() | wanted_models(model_id).filter(lambda item: item.grant is not None)
    conclusions = st.builds(Conclusion, grants(model_id), st.sampled_from(DeploymentState), st.just("because"))
    return ServingRecord(
        model_id,
        trial=draw(granted),
        is_trial_active=draw(st.booleans()),
        trial_starts=draw(st.integers(0, 4)),
        last_good=draw(granted),
        conclusions=tuple(draw(st.lists(conclusions, max_size=2))),
        tested=tuple(key_of_test(draw(deployment_ids), configuration(model_id, name)) for name in draw(name_tuples)),
    )


all_shas = [*sorted(everything(model("digits"), model("kws"))), sha("garbage")]
runs = st.builds(
    Run,
    st.sampled_from(("b0", "b1", "b2", "l0", "l1", "old")),
    st.integers(0, 1),
    st.sampled_from(BenchmarkPhase),
    st.integers(0, 4),
)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    return Known(
        cached=frozenset(draw(st.sets(st.sampled_from(all_shas)))),
        partial_bytes=draw(st.dictionaries(st.sampled_from(all_shas), st.integers(0, 99), max_size=2)),
        bad=draw(
            st.dictionaries(
                st.sampled_from([bad_key(sha("digitsint8"), configuration("digits", "int8"))]), st.just("bad")
            )
        ),
        serving={model_id: draw(records(model_id)) for model_id in draw(st.sets(model_ids))},
        benchmarks=tuple(draw(st.lists(runs, max_size=3))),
        loads=tuple(draw(st.lists(runs, max_size=2))),
    )


@st.composite
def facts_(draw: st.DrawFn) -> Facts:
    live = {
        model_id: Live(draw(grants(model_id)), tuple(f"{model_id}.v1.{name}" for name in draw(name_tuples)))
        for model_id in draw(st.sets(model_ids))
    }
    return Facts(now_ns=100, is_online=draw(st.booleans()), live=live)


# ---- properties ----


@settings(max_examples=300)
@given(st.none() | wanteds(), knowns(), facts_())
def test_any_input_has_a_plan_and_the_same_one_each_time(wanted, known, facts):
    first = plan(wanted, known, facts)
    assert first == plan(wanted, known, facts)
    assert all(step_key(step) for step in first)


@settings(max_examples=300)
@given(st.none() | wanteds(), knowns(), facts_())
def test_no_plan_drops_what_is_active_last_good_or_desired(wanted, known, facts):
    kept = kept_artifacts(wanted, known)
    for record in known.serving.values():
        for held in (record.trial, record.last_good):
            for item in held.manifests if held else ():
                if held and any(rung.variant_id == item.variant_id for rung in held.ladder()):
                    assert item.artifact.sha256 in kept
    for step in plan(wanted, known, facts):
        if isinstance(step, Collect):
            assert not set(step.sha256s) & kept


@settings(max_examples=300)
@given(st.none() | wanteds(), knowns(), facts_())
def test_any_state_has_a_report(wanted, known, facts):
    reported = reported_state("pi", "boot", wanted, known, facts)
    assert reported.is_converged == (not reported.reason)


@settings(max_examples=300)
@given(wanteds(), knowns(), facts_())
def test_held_steps_and_offline_fetches_are_left_out(wanted, known, facts):
    steps = plan(wanted, known, facts)
    held = frozenset(step_key(step) for step in steps[:1])
    again = plan(wanted, known, replace(facts, held=held, is_online=False))
    assert not held & {step_key(step) for step in again}
    assert not any(isinstance(step, Fetch) for step in again)


@settings(max_examples=200)
@given(wanteds(), knowns(), facts_(), st.integers(0, 5))
def test_doing_the_first_step_again_and_again_converges(wanted, known, facts, bad_seed):
    world = World(known, replace(facts, is_online=True))
    for _ in range(300):
        steps = plan(wanted, world.known, world.facts)
        if not steps:
            break
        world.do(steps[0], wanted, bad_seed)
    assert plan(wanted, world.known, world.facts) == ()


@given(wanteds(), wanteds(), wanteds())
def test_the_adopted_version_never_goes_down(one, two, three):
    held = None
    for offered in (one, two, three, one):
        if supersedes(offered, held):
            assert held is None or (offered.epoch, offered.version) > (held.epoch, held.version)
            held = offered
    assert held is not None
    assert (held.epoch, held.version) == max((item.epoch, item.version) for item in (one, two, three))


class World:
    """What the steps do, as plain data."""

    def __init__(self, known: Known, facts: Facts) -> None:
        self.known = known
        self.facts = facts

    def do(self, step: Step, wanted: Wanted, bad_seed: int) -> None:
        match step:
            case Fetch(ref):
                self.known = replace(self.known, cached=self.known.cached | {ref.sha256})
            case SelfTest(model_id, deployment_id, tested):
                record = self.record(model_id)
                if hash((tested, bad_seed)) % 5 == 0:
                    found = wanted.model(model_id)
                    assert found is not None
                    assert found.grant is not None
                    self.put(transitions.concluded_with(record, found.grant, DeploymentState.ROLLED_BACK, "x"))
                else:
                    self.put(transitions.passed_test(record, deployment_id, tested))
            case Activate(model_id, _):
                found = wanted.model(model_id)
                assert found is not None
                self.put(transitions.begun(self.record(model_id), found))
                self.load(found, tuple(rung.variant_id for rung in found.ladder()))
            case Resume(model_id, _, variant_ids):
                target = self.record(model_id).target
                assert target is not None
                self.load(target, variant_ids)
            case Commit(model_id, _):
                found = wanted.model(model_id)
                assert found is not None
                self.put(transitions.committed(self.record(model_id), found))
            case Rollback():
                self.roll_back(step, wanted)
            case StopServing(model_id, _):
                serving = {key: record for key, record in self.known.serving.items() if key != model_id}
                self.known = replace(self.known, serving=serving)
                self.down(model_id)
            case RunBenchmark(request) | FailBenchmark(request):
                self.known = replace(self.known, benchmarks=finished(self.known.benchmarks, request))
            case RunLoad(request) | FailLoad(request):
                self.known = replace(self.known, loads=finished(self.known.loads, request))
            case Forget(benchmarks, loads):
                self.known = replace(
                    self.known,
                    benchmarks=tuple(r for r in self.known.benchmarks if (r.request_id, r.attempt) not in benchmarks),
                    loads=tuple(r for r in self.known.loads if (r.request_id, r.attempt) not in loads),
                )
            case Collect(sha256s):
                partial = {key: size for key, size in self.known.partial_bytes.items() if key not in sha256s}
                self.known = replace(self.known, cached=self.known.cached - set(sha256s), partial_bytes=partial)

    def record(self, model_id: str) -> ServingRecord:
        return self.known.serving.get(model_id, ServingRecord(model_id))

    def put(self, record: ServingRecord) -> None:
        self.known = replace(self.known, serving={**self.known.serving, record.model_id: record})

    def load(self, target: WantedModel, variant_ids: tuple[str, ...]) -> None:
        assert target.grant is not None
        live = Live(target.grant, variant_ids, variant_ids[0])
        self.facts = replace(self.facts, live={**self.facts.live, target.model_id: live})
        self.put(transitions.ready(self.record(target.model_id), LocalReady(http_port=1, grpc_port=2)))

    def down(self, model_id: str) -> None:
        live = {key: item for key, item in self.facts.live.items() if key != model_id}
        self.facts = replace(self.facts, live=live)

    def roll_back(self, step: Rollback, wanted: Wanted) -> None:
        record = self.record(step.model_id)
        held = record.target if step.is_start_failure else record.trial
        gone = held if held and held.deployment_id == step.deployment_id else wanted.model(step.model_id)
        assert gone is not None
        assert gone.grant is not None
        record = transitions.concluded_with(record, gone.grant, step.state, step.reason)
        self.put(record)
        if record.target is None:
            self.down(step.model_id)


def finished(runs_: tuple[Run, ...], request: BenchmarkRequest | LoadRequest) -> tuple[Run, ...]:
    key = (request.request_id, request.attempt)
    rest = tuple(run for run in runs_ if (run.request_id, run.attempt) != key)
    return (*rest, Run(*key, BenchmarkPhase.FINISHED))


# ---- single facts ----


def test_a_new_grant_is_fetched_tested_and_activated_in_that_order():
    wanted = Wanted(models=(model("digits", grant("digits", "d1")),), epoch=1, version=1)
    online = Facts(is_online=True)
    fetches = plan(wanted, Known(), online)
    assert {type(step) for step in fetches} == {Fetch}
    assert len(fetches) == 7  # three artifacts, three goldens, one evaluation set
    known = Known(cached=everything(*wanted.models))
    steps = plan(wanted, known, online)
    assert [type(step) for step in steps] == [SelfTest, SelfTest, SelfTest, Activate]


def test_what_serving_needs_is_fetched_first():
    wanted = Wanted(models=(model("kws"), model("digits", grant("digits", "d1", ("tiny",)))))
    first = plan(wanted, Known(), Facts(is_online=True))[0]
    assert first == Fetch(manifest("digits", "tiny").artifact)


def test_a_refused_deployment_is_concluded_once_and_not_tried_again():
    ladder_without_manifest = model("digits", grant("digits", "d1"), ("fp32",))
    wanted = Wanted(models=(ladder_without_manifest,))
    known = Known(cached=everything(*wanted.models))
    (step,) = plan(wanted, known, Facts())
    assert isinstance(step, Rollback)
    assert "no manifest" in step.reason
    record = transitions.concluded_with(ServingRecord("digits"), grant("digits", "d1"), step.state, step.reason)
    assert plan(wanted, replace(known, serving={"digits": record}), Facts()) == ()


def test_a_bad_artifact_refuses_the_deployments_that_name_it():
    wanted = Wanted(models=(model("digits", grant("digits", "d1")),))
    bad = {bad_key(manifest("digits", "int8").artifact.sha256, configuration("digits", "int8")): "wrong outputs"}
    (step,) = plan(wanted, Known(cached=everything(*wanted.models), bad=bad), Facts())
    assert isinstance(step, Rollback)
    assert "wrong outputs" in step.reason


def test_without_a_desired_state_the_last_good_is_resumed_and_nothing_removed():
    good = model("digits", grant("digits", "d1"))
    known = Known(
        cached=everything(good) | {sha("garbage")}, serving={"digits": ServingRecord("digits", last_good=good)}
    )
    steps = plan(None, known, Facts())
    assert steps == (Resume("digits", "d1", tuple(f"digits.v1.{name}" for name in NAMES)),)


def test_a_rotten_rung_leaves_the_others_serving_until_it_is_back():
    good = model("digits", grant("digits", "d1"))
    rotten = manifest("digits", "fp32").artifact.sha256
    known = Known(cached=everything(good) - {rotten}, serving={"digits": ServingRecord("digits", last_good=good)})
    steps = plan(Wanted(models=(good,)), known, Facts(is_online=True))
    assert steps == (Resume("digits", "d1", ("digits.v1.int8", "digits.v1.tiny")), Fetch(ArtifactRef(rotten, 100)))
    live = {"digits": Live(grant("digits", "d1"), ("digits.v1.int8", "digits.v1.tiny"))}
    whole = replace(known, cached=known.cached | {rotten})
    (step,) = plan(Wanted(models=(good,)), whole, Facts(live=live))
    assert step == Resume("digits", "d1", tuple(f"digits.v1.{name}" for name in NAMES))


def test_three_failed_starts_roll_the_trial_back_with_the_reason():
    trial = model("digits", grant("digits", "d2"))
    record = ServingRecord(
        "digits", trial=trial, trial_starts=MAX_STARTS, last_good=model("digits", grant("digits", "d1"))
    )
    known = Known(cached=everything(trial), serving={"digits": record})
    facts = Facts(problems={"serve digits d2": "was ended by SIGSEGV"})
    (step,) = plan(Wanted(models=(trial,)), known, facts)
    assert isinstance(step, Rollback)
    assert step.state is DeploymentState.ROLLED_BACK
    assert "SIGSEGV" in step.reason


def test_a_trial_that_is_not_committed_in_time_goes_back_with_nothing_to_go_back_to_and_offline_too():
    late = model("digits", grant("digits", "d2", deadline_ns=50))
    good = model("digits", grant("digits", "d1"))
    facts = Facts(
        now_ns=100, live={"digits": Live(grant("digits", "d2"), tuple(f"digits.v1.{name}" for name in NAMES))}
    )
    assert not facts.is_online
    alone = ServingRecord("digits", trial=late, trial_starts=1, is_trial_active=True)
    for record in (alone, replace(alone, last_good=good)):
        known = Known(cached=everything(late), serving={"digits": record})
        for wanted in (Wanted(models=(late,)), None):
            (step,) = plan(wanted, known, facts)
            assert isinstance(step, Rollback)
            assert "deadline" in step.reason
            assert plan(wanted, known, replace(facts, now_ns=50)) == (), "its time is not over yet"


def test_a_trial_that_was_committed_or_given_more_time_stays():
    trial = model("digits", grant("digits", "d2", deadline_ns=50))
    record = ServingRecord("digits", trial=trial, trial_starts=0, is_trial_active=True)
    known = Known(cached=everything(trial), serving={"digits": record})
    facts = Facts(
        now_ns=100, live={"digits": Live(grant("digits", "d2"), tuple(f"digits.v1.{name}" for name in NAMES))}
    )
    longer = model("digits", grant("digits", "d2", deadline_ns=500))
    assert plan(Wanted(models=(longer,)), known, facts) == ()
    committed = model("digits", grant("digits", "d2", deadline_ns=50, is_committed=True))
    assert plan(Wanted(models=(committed,)), known, facts) == (Commit("digits", "d2"),)


def test_a_trial_whose_successor_cannot_be_fetched_goes_back_at_its_own_deadline():
    trial = model("digits", grant("digits", "d2", deadline_ns=50))
    good = model("digits", grant("digits", "d1"))
    record = ServingRecord("digits", trial=trial, trial_starts=0, is_trial_active=True, last_good=good)
    facts = Facts(
        now_ns=100, live={"digits": Live(grant("digits", "d2"), tuple(f"digits.v1.{name}" for name in NAMES))}
    )
    successor = Wanted(models=(model("digits", grant("digits", "d3", deadline_ns=500)),))
    steps = plan(successor, Known(cached=everything(trial), serving={"digits": record}), facts)
    assert isinstance(steps[0], Rollback)
    assert (steps[0].deployment_id, steps[0].state) == ("d2", DeploymentState.ROLLED_BACK)


def test_a_deployment_that_is_late_is_not_activated_any_more_unless_it_is_committed():
    late = model("digits", grant("digits", "d2", deadline_ns=50))
    known = Known(cached=everything(late))
    (step,) = plan(Wanted(models=(late,)), known, Facts(now_ns=100))
    assert isinstance(step, Rollback)
    assert "deadline" in step.reason
    old = model("digits", grant("digits", "d1", deadline_ns=50, is_committed=True))
    assert Activate("digits", "d1") in plan(Wanted(models=(old,)), known, Facts(now_ns=100)), "an earlier one, again"


def test_going_back_to_the_last_good_withdraws_the_trial():
    good = model("digits", grant("digits", "d1", is_committed=True))
    record = ServingRecord("digits", trial=model("digits", grant("digits", "d2")), trial_starts=1, last_good=good)
    known = Known(cached=everything(good), serving={"digits": record})
    (step,) = plan(Wanted(models=(good,)), known, Facts())
    assert isinstance(step, Rollback)
    assert (step.deployment_id, step.state) == ("d2", DeploymentState.CANCELLED)


def test_the_commit_of_the_controller_is_all_that_a_live_trial_still_needs():
    granted = grant("digits", "d2", is_committed=True)
    trial = model("digits", grant("digits", "d2"))
    record = ServingRecord("digits", trial=trial, trial_starts=1, is_trial_active=True)
    facts = Facts(live={"digits": Live(grant("digits", "d2"), tuple(f"digits.v1.{name}" for name in NAMES))})
    known = Known(cached=everything(trial), serving={"digits": record})
    assert plan(Wanted(models=(model("digits", granted),)), known, facts) == (Commit("digits", "d2"),)


def test_a_pin_is_a_new_grant_of_the_same_deployment():
    good = model("digits", grant("digits", "d1", is_committed=True))
    pinned = model("digits", grant("digits", "d1", is_committed=True, pinned_variant_id="digits.v1.tiny"))
    tested = tuple(key_of_test("d1", configuration("digits", name)) for name in NAMES)
    record = ServingRecord("digits", last_good=good, tested=tested)
    facts = Facts(live={"digits": Live(grant("digits", "d1"), tuple(f"digits.v1.{name}" for name in NAMES))})
    known = Known(cached=everything(good), serving={"digits": record})
    assert plan(Wanted(models=(pinned,)), known, facts) == (Activate("digits", "d1"),)


def test_a_grant_that_is_taken_back_stops_the_model():
    good = model("digits", grant("digits", "d1"))
    known = Known(cached=everything(good), serving={"digits": ServingRecord("digits", last_good=good)})
    steps = plan(Wanted(models=(model("digits"),)), known, Facts())
    assert steps == (StopServing("digits", "no longer granted"),)


def test_benchmarks_wait_for_their_bytes_and_for_our_own_load():
    request = BenchmarkRequest("b1", 0, configuration("digits", "int8"))
    wanted = Wanted(models=(model("digits"),), benchmarks=(request,))
    known = Known(cached=everything(*wanted.models))
    assert plan(wanted, Known(), Facts()) == ()
    assert plan(wanted, known, Facts()) == (RunBenchmark(request),)
    busy = replace(known, loads=(Run("l1", 0, BenchmarkPhase.RUNNING),))
    assert plan(wanted, busy, Facts()) == ()


def test_an_often_interrupted_or_unknown_benchmark_fails_with_its_reason():
    request = BenchmarkRequest("b1", 0, configuration("digits", "int8"))
    stranger = BenchmarkRequest("b2", 0, configuration("kws", "int8"))
    wanted = Wanted(models=(model("digits"),), benchmarks=(request, stranger))
    run = Run("b1", 0, BenchmarkPhase.QUEUED, starts=MAX_RUN_STARTS)
    steps = plan(wanted, Known(cached=everything(*wanted.models), benchmarks=(run,)), Facts())
    assert [type(step) for step in steps] == [FailBenchmark, FailBenchmark]
    assert "interrupted" in steps[0].reason
    assert "no manifest" in steps[1].reason


def test_an_expired_load_is_not_started():
    wanted = Wanted(loads=(LoadRequest("l1", expires_at_ns=50), LoadRequest("l2", expires_at_ns=500)))
    steps = plan(wanted, Known(), Facts(now_ns=100))
    assert steps == (FailLoad(wanted.loads[0], "it expired before it could start"), RunLoad(wanted.loads[1]))


def test_a_benchmark_gives_way_to_serving_and_a_fetch_to_a_withdrawal():
    request = RunBenchmark(BenchmarkRequest("b1"))
    fetch = Fetch(ArtifactRef(sha("a"), 1))
    assert may_yield(request, (Resume("digits", "d1", ("x",)), request))
    assert not may_yield(request, (request,))
    assert may_yield(fetch, ())
    assert not may_yield(Activate("digits", "d1"), ())
