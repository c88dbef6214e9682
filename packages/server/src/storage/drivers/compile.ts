import type { Params, QueryBuilder, Statement, Value } from '#storage/program';

export interface CompiledStatement {
  readonly sql: string;
  /** The call's parameters in the order of the placeholders; constants of the query stand for themselves. */
  bind(params: Params): Value[];
}

class Placeholder {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** Stands for every parameter while a statement is built: Kysely passes it through to the list of parameters. */
const placeholders = new Proxy<Params>({}, { get: (_, name) => new Placeholder(String(name)) as unknown as Value }); // replaced by `bind` before it is used

/** Compiles each hot statement once. */
export function createCompiler(builder: QueryBuilder): (statement: Statement<Params, unknown>) => CompiledStatement {
  const compiled = new Map<Statement<Params, unknown>, CompiledStatement>();
  return (statement) => {
    const known = compiled.get(statement);
    if (known) return known;
    const { sql, parameters } = statement.build(builder, placeholders).compile();
    const created: CompiledStatement = {
      sql,
      bind: (params) =>
        parameters.map((parameter) => {
          if (!(parameter instanceof Placeholder)) return parameter as Value; // a constant of the query
          const value = params[parameter.name];
          if (value === undefined) throw new Error(`statement ${statement.name} needs the parameter ${parameter.name}`);
          return value;
        }),
    };
    compiled.set(statement, created);
    return created;
  };
}
