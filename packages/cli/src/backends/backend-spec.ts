import { UsageError } from '../usage-error.js';
import type { BackendFactory, BackendPlan } from './backend-factory.js';

/**
 * Reads `NAME`, `NAME:value` or `NAME:key=value,key=value` and asks the factory of that name.
 * Throws {@link UsageError}; for an unknown name with the list of known ones.
 */
export function planBackend(spec: string, factories: readonly BackendFactory[]): BackendPlan {
  const colon = spec.indexOf(':');
  const name = colon === -1 ? spec : spec.slice(0, colon);
  const factory = factories.find((candidate) => candidate.name === name);
  if (factory === undefined) {
    const forms = factories.map(({ form }) => form).join(', ');
    throw new UsageError(`unknown backend '${name}': use one of ${forms}`);
  }
  return factory.plan(readValues(factory, colon === -1 ? '' : spec.slice(colon + 1)));
}

function readValues(factory: BackendFactory, text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  if (text === '') return values;
  for (const item of text.split(',')) {
    const equals = item.indexOf('=');
    const key = equals === -1 ? factory.bareKey : item.slice(0, equals);
    const value = equals === -1 ? item : item.slice(equals + 1);
    if (key === undefined || value === '' || !factory.keys.includes(key)) {
      throw new UsageError(
        `backend ${factory.name}: '${item}' is not understood, write ${factory.form}`,
      );
    }
    if (values.has(key)) throw new UsageError(`backend ${factory.name}: ${key} is given twice`);
    values.set(key, value);
  }
  return values;
}
