/**
 * The door of forms: the short forms of agents and sessions (`allow`, `approve`, `deny`) as policies. Of all policies a decision sees
 * only a slice, those that may say something about its resource.
 */
export {
  checkShortForm,
  compileAgentForm,
  compileCeiling,
  compileNarrowingAgentForm,
  compileSessionForm,
  defaultCeiling,
  type FormPolicy,
} from './short-form.ts';
