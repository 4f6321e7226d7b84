/** docs/seeds.md says where each seed row is implemented: here it is kept true. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from './support/requirements.js';

const documents = join(repositoryRoot, 'docs');
const NOT_YET = 'not yet';
const COUNTS = { A: 14, B: 10, C: 15, D: 9 };

/** The rows of all tables: id and what stands under "code". */
const rows = [
  ...read(join(documents, 'seeds.md')).matchAll(/^\| ([A-D]\d+) \|[^|]+\| (.+) \|$/gm),
].map(([, id = '', code = '']) => ({ id, code }));
/** Titles of all tests, of packages and across them. */
const titles = ['packages', 'test', 'examples']
  .flatMap((folder) => testFiles(join(repositoryRoot, folder)))
  .flatMap((file) => [...read(file).matchAll(/\b\w*[tT]est\(\s*(?:t,\s*)?(['"`])([\s\S]*?)\1/g)])
  .map(([, , title = '']) => title);

function read(file: string): string {
  return readFileSync(file, 'utf8');
}

function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (['node_modules', 'dist', '.tap'].includes(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testFiles(path);
    return entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

/** What is named in a row: a file, and the names that are declared or used in it. */
function places(code: string): { file: string; names: string[] }[] {
  return [...code.matchAll(/\[[\w-]+\]\(([^)]+)\)((?: `\w+`)+)/g)].map(
    ([, file = '', names = '']) => ({
      file: join(documents, file),
      names: [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => name),
    }),
  );
}

t.test('every row of the seeds is in the table, in order', async (t) => {
  const expected = Object.entries(COUNTS).flatMap(([part, count]) =>
    Array.from({ length: count }, (_, index) => `${part}${index + 1}`),
  );
  t.same(
    rows.map(({ id }) => id),
    expected,
  );
});

t.test(
  'every row that is done names code that exists, and stands in the title of a test',
  async (t) => {
    for (const { id, code } of rows) {
      if (code === NOT_YET) {
        t.comment(`${id} is not done yet`);
        continue;
      }
      const found = places(code);
      const wrong = found.flatMap(({ file, names }) => {
        try {
          const text = read(file);
          return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text));
        } catch {
          return [file];
        }
      });
      const tested = titles.some((title) => new RegExp(`\\b${id}\\b`).test(title));
      t.ok(found.length > 0 && wrong.length === 0 && tested, id, { wrong, tested });
    }
  },
);
