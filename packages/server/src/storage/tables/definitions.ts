import type { DefinitionKind } from '@nexus-agent/protocol';
import type { DefinitionFile, DefinitionHead, DefinitionImport, DefinitionImportResult, NodeRow } from '#storage/contract';
import {
  change,
  defineTable,
  insertMany,
  json,
  jsonNullable,
  type Program,
  parse,
  parseNullable,
  queriesOn,
  type Row,
  run,
  storable,
} from '#storage/program';

export const definitions = defineTable('definitions', {
  kind: 'text',
  version: 'int',
  fingerprint: 'text',
  files: 'text?',
  origin: 'text',
  imported_at: 'int',
});
export const nodes = defineTable('nodes', { node_id: 'text', name: 'text', status: 'text', seen_at: 'int' });

const { statement } = queriesOn(definitions, nodes);

/** Versions of a kind whose files are kept; of older ones it is only known that they were. */
const keptVersions = 50;

const headColumns = ['kind', 'version', 'fingerprint', 'origin', 'imported_at'] as const;

function headFromRow(row: Pick<Row<typeof definitions>, (typeof headColumns)[number]>): DefinitionHead {
  return {
    kind: row.kind as DefinitionKind, // written from one
    version: row.version,
    fingerprint: row.fingerprint,
    origin: parse(row.origin),
    importedAt: row.imported_at,
  };
}

const heads = statement('definition_heads', ({ db }, _params: Record<string, never>) =>
  db
    .selectFrom('definitions as d')
    .select(headColumns)
    .where('d.version', '=', (eb) =>
      eb
        .selectFrom('definitions as other')
        .whereRef('other.kind', '=', 'd.kind')
        .select((inner) => inner.fn.max('other.version').as('version')),
    )
    .orderBy('kind'),
);

export function* definitionHeads(): Program<readonly DefinitionHead[]> {
  return (yield* run(heads, {})).map(headFromRow);
}

const newest = statement('newest_definitions', ({ db }, params: { kind: string }) =>
  db.selectFrom('definitions').select(headColumns).where('kind', '=', params.kind).orderBy('version', 'desc').limit(1),
);

const byFingerprint = statement('definitions_by_fingerprint', ({ db }, params: { kind: string; fingerprint: string }) =>
  db
    .selectFrom('definitions')
    .select(headColumns)
    .where('kind', '=', params.kind)
    .where('fingerprint', '=', params.fingerprint)
    .orderBy('version', 'desc')
    .limit(1),
);

export function* findDefinitions(kind: DefinitionKind, fingerprint: string): Program<DefinitionHead | null> {
  const [row] = yield* run(byFingerprint, { kind, fingerprint });
  return row ? headFromRow(row) : null;
}

const filesOf = statement('definition_files', ({ db }, params: { kind: string; version: number }) =>
  db.selectFrom('definitions').select('files').where('kind', '=', params.kind).where('version', '=', params.version),
);

export function* definitionFiles(kind: DefinitionKind, version: number): Program<readonly DefinitionFile[] | null> {
  const [row] = yield* run(filesOf, { kind, version });
  return parseNullable(row?.files ?? null);
}

const dropFiles = statement('drop_definition_files', ({ db }, params: { kind: string; upTo: number }) =>
  db
    .updateTable('definitions')
    .set({ files: null })
    .where('kind', '=', params.kind)
    .where('version', '<=', params.upTo)
    .where('files', 'is not', null),
);

export function* importDefinitions(request: DefinitionImport): Program<DefinitionImportResult> {
  const { kind, fingerprint, again } = request;
  for (;;) {
    const [row] = yield* run(newest, { kind });
    const head = row ? headFromRow(row) : null;
    if (head?.fingerprint === fingerprint) return { type: 'same', head };
    const known = again === 'always' ? null : yield* findDefinitions(kind, fingerprint);
    if (head !== null && known !== null && head.version !== again) return { type: 'known', head, version: known.version };
    const next: DefinitionHead = {
      kind,
      version: (head?.version ?? 0) + 1,
      fingerprint,
      origin: request.origin,
      importedAt: request.importedAt,
    };
    const stored = {
      kind,
      version: next.version,
      fingerprint: storable(fingerprint, 'fingerprint'),
      files: jsonNullable(request.files),
      origin: json(next.origin),
      imported_at: next.importedAt,
    };
    // Another node may have taken the number meanwhile: then it is seen what it imported.
    if ((yield* insertMany(definitions, [stored], 'ignore')) === 0) continue;
    yield* change(dropFiles, { kind, upTo: next.version - keptVersions });
    return { type: 'imported', head: next };
  }
}

const putNode = statement('put_node', ({ db }, params: { node: string; name: string; status: string; at: number }) =>
  db
    .insertInto('nodes')
    .values({ node_id: params.node, name: params.name, status: params.status, seen_at: params.at })
    .onConflict((conflict) => conflict.column('node_id').doUpdateSet({ status: params.status, seen_at: params.at })),
);
const forgetNodes = statement('forget_nodes', ({ db }, params: { before: number }) =>
  db.deleteFrom('nodes').where('seen_at', '<', params.before),
);
const dropNode = statement('forget_node', ({ db }, params: { node: string }) => db.deleteFrom('nodes').where('node_id', '=', params.node));
const seenNodes = statement('seen_nodes', ({ db }, params: { since: number }) =>
  db.selectFrom('nodes').selectAll().where('seen_at', '>=', params.since).orderBy('name').orderBy('node_id'),
);

export function* reportNode({ nodeId, name, status, seenAt }: NodeRow, forgetBefore: number): Program<void> {
  yield* change(putNode, { node: nodeId, name: json(name), status: json(status), at: seenAt });
  yield* change(forgetNodes, { before: forgetBefore });
}

export function* forgetNode(nodeId: string): Program<void> {
  yield* change(dropNode, { node: nodeId });
}

export function* listNodes(seenSince: number): Program<readonly NodeRow[]> {
  const rows = yield* run(seenNodes, { since: seenSince });
  return rows.map((row) => ({ nodeId: row.node_id, name: parse(row.name), status: parse(row.status), seenAt: row.seen_at }));
}
