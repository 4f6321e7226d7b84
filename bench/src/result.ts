/** One measured thing beside its peer, in the same run. */
export interface Result {
  /** What was measured, for example `transmit drain, 64-byte frames`. */
  readonly name: string;
  /** What the figures are in, for example `Mframes/s`. */
  readonly unit: string;
  /** Whether more is better (a rate) or less (a time). */
  readonly better: 'more' | 'less';
  /** Our figures, one for each round. */
  readonly own: readonly number[];
  /** Peers' figures, round by round beside ours. */
  readonly peers: readonly { readonly name: string; readonly figures: readonly number[] }[];
}

/** The middle figure; of two middle ones the upper. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** Median of the ratios ours / peer's, round by round: what a noisy machine leaves comparable. */
export function ratio(own: readonly number[], peer: readonly number[]): number {
  return median(own.map((figure, round) => figure / (peer[round] ?? Number.NaN)));
}

const figure = (value: number): string => value.toPrecision(4);

/** The results as lines of a table. */
export function table(results: readonly Result[]): string {
  const rows = results.flatMap(({ name, unit, own, peers }) => [
    [name, 'rxvhost', figure(median(own)), unit, ''],
    ...peers.map((peer) => [
      '',
      peer.name,
      figure(median(peer.figures)),
      unit,
      `rxvhost / this: ${ratio(own, peer.figures).toFixed(3)}`,
    ]),
  ]);
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
