/** The module `k6` as load scripts import it. */
export { check, sleep } from './api.ts';
