import type { RunState } from '#runs/journal';
import { charge, type Proposal, propose } from './proposal.ts';

/** Charges a reservation of the run, if it is open by its journal: its work may have been done. */
export function chargeOpen({ model, openReservations }: RunState, reservationId: string): Proposal {
  if (!Object.hasOwn(openReservations, reservationId)) return propose({});
  return charge(reservationId, model?.reservationId === reservationId ? { inputTokens: model.inputTokens } : {});
}

/** The same for all that are open. */
export function chargeAllOpen(state: RunState): readonly Proposal[] {
  return Object.keys(state.openReservations).map((id) => chargeOpen(state, id));
}
