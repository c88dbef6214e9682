/** The module `k6/http` as load scripts import it. */
export { http as default } from './api.ts';
