import type { ClaimedRun } from '../../packages/server/src/storage/index.ts';
import type { StoreModel, Times } from './run-model.ts';

type Ready = ReturnType<StoreModel['claimable']>[number];

/** Holds what a store gave to those who claim against what its model says they may have, and takes the same there. */
export class ClaimJudge {
  readonly #model: StoreModel;
  /** Claims by which a tenant with work was passed over since its last turn. */
  readonly #passedOver = new Map<string, number>();

  constructor(model: StoreModel) {
    this.#model = model;
  }

  /** What is wrong with a claim. Of runs that are equal it may take any. */
  runs(workerId: string, limit: number, taken: readonly ClaimedRun[], at: Times): readonly string[] {
    const ready = this.#model.claimable(at);
    const ids = new Set<string>(taken.map(({ runId }) => runId));
    const tenants = new Set<string>([...this.#passedOver.keys(), ...ready.map(({ run }) => run.row.tenantId)]);
    const share = Math.floor(limit / new Set(ready.map(({ run }) => run.row.tenantId)).size);
    const problems = [...tenants].flatMap((tenantId) =>
      this.#turn(
        tenantId,
        ready.filter(({ run }) => run.row.tenantId === tenantId),
        ids,
        share,
      ),
    );
    if (taken.length !== Math.min(limit, ready.length)) problems.push(`claimed ${taken.length} of ${ready.length} with ${limit} places`);
    for (const { runId, lostAt, deaths, diedAlone } of taken) {
      const found = ready.find(({ run }) => run.row.runId === runId);
      const since = found && this.#model.take(found.run, workerId, found.isLost, at);
      if (found === undefined) problems.push(`claimed ${runId}, which is not to be had`);
      else if (lostAt !== since || deaths !== found.run.deaths || diedAlone)
        problems.push(`${runId}: lost at ${lostAt} after ${deaths} deaths, not at ${since} after ${found.run.deaths}`);
    }
    return problems;
  }

  /** A tenant has an equal share of the places, in the order of its work, and is passed over no longer than the others take. */
  #turn(tenantId: string, own: readonly Ready[], ids: ReadonlySet<string>, share: number): readonly string[] {
    const ranks = (isTaken: boolean) => own.filter(({ run }) => ids.has(run.row.runId) === isTaken).map(({ rank }) => rank);
    const [got, left] = [ranks(true), ranks(false)];
    const passed = own.length > 0 && got.length === 0 ? (this.#passedOver.get(tenantId) ?? 0) + 1 : 0;
    this.#passedOver.set(tenantId, passed);
    return [
      ...(got.length < Math.min(own.length, share) ? [`${tenantId} got less than its share`] : []),
      ...(Math.max(...got) > Math.min(...left) ? [`${tenantId}: something that was due later was claimed first`] : []),
      ...(passed >= 2 ? [`${tenantId} was passed over ${passed} times`] : []),
    ];
  }

  suspect(workerId: string, isAlone: boolean, setAside: number, taken: ClaimedRun | null, at: Times): readonly string[] {
    const first = this.#model.suspects(setAside, at);
    const named = first.map(({ row }) => row.runId).join(' or ') || 'none';
    const run = first.find(({ row }) => row.runId === taken?.runId);
    if (taken === null || run === undefined) return taken === null && first.length === 0 ? [] : [`suspect: ${taken?.runId}, not ${named}`];
    const diedAlone = this.#model.try(run, workerId, isAlone, at);
    const isRight = taken.deaths === run.deaths && taken.diedAlone === diedAlone;
    return isRight
      ? []
      : [`the suspect ${taken.runId} is said to have ${taken.deaths} deaths (alone: ${taken.diedAlone}), not ${run.deaths}`];
  }
}
