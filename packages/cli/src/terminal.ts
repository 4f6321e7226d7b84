/** Where the command writes: results to `out`, everything that is meant for people to `say`. */
export interface Terminal {
  /** Text on stdout, with a line break after it. */
  out(text: string): void;
  /** One line on stderr, with the command's name before it as is the custom. */
  say(line: string): void;
}

/** The process's own stdout and stderr. */
export function processTerminal(): Terminal {
  // A reader that went away is no reason to stop serving a guest (hazard T17).
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return {
    out: (text) => void process.stdout.write(`${text}\n`),
    say: (line) => void process.stderr.write(`rxvhost: ${line}\n`),
  };
}
