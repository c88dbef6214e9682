/** The door of budgets: who pays, what people are shown, and what becomes of money that nobody settles. */
export { type Admission, createAdmission, inTurn, modelNeeds, needsOf, type Place } from './admission.ts';
export { limitOperations, scopesOf } from './scopes.ts';
export { createReservationSweeper } from './sweeper.ts';
export { budgetView } from './views.ts';
