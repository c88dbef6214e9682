/** The door of forms: short forms of agents and sessions as policies. */
export { checkShortForm, compileAgentForm, compileSessionForm, type FormPolicy } from './short-form.ts';
