import type { Migration } from './migration.ts';

/** A reservation that nobody settles is charged, whatever its holder had begun: nothing is kept to tell such ones apart. */
export const expiryCharges: Migration = {
  version: 2,
  name: 'expiry_charges',
  statements: () => ['alter table reservations drop column dispatched', 'alter table reservations drop column expired'],
};
