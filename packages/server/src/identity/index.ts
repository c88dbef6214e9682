/** The door of identity. */
export { createKeys } from './keys.ts';
