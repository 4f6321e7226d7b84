import { runDemo } from './demo.js';
import { parseOptions, USAGE, UsageError } from './options.js';
import { summaryLines } from './summary.js';

/** Exit codes: 0 as it should be, 1 not so, 2 a wrong command line, 130 and 143 called off. */
const CALLED_OFF = { SIGINT: 130, SIGTERM: 143 } as const;

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    console.log(USAGE);
    return 0;
  }
  const interruption = new AbortController();
  let exitCode: number | undefined;
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      exitCode = CALLED_OFF[name];
      interruption.abort();
    });
  }
  try {
    const screen = options.json ? undefined : process.stdout;
    const summary = await runDemo(options, screen, interruption.signal);
    if (options.json) console.log(JSON.stringify(summary));
    else for (const line of ['', ...summaryLines(summary)]) console.log(line);
    return summary.ok ? 0 : 1;
  } catch (error) {
    if (exitCode === undefined) throw error;
    console.error('\ncalled off; everything is cleaned up');
    return exitCode;
  }
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
