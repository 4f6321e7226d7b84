import type { NetStatistics } from '@rxvhost/core';
import type { NetDriverStatistics } from '@rxvhost/guest';

/** What became of the frames that one guest sent to the other. */
export interface DirectionSummary {
  readonly from: string;
  readonly to: string;
  readonly sent: number;
  /** Frames that arrived intact and in order. */
  readonly received: number;
  readonly bytes: number;
  readonly framesPerSecond: number;
  readonly megabitsPerSecond: number;
  readonly missing: number;
  readonly damaged: number;
  readonly outOfOrder: number;
}

/** Round trips of ICMP echoes over the otherwise idle NICs, in microseconds. */
export interface RoundTripSummary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
}

/** The whole demo's outcome; what `--json` prints. */
export interface Summary {
  /** True when every frame arrived intact and in order, and nothing was dropped or went wrong. */
  readonly ok: boolean;
  readonly directions: readonly DirectionSummary[];
  /** Frames of the exchange, both directions, and how long it took. */
  readonly frames: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Dropped frames by place and reason; only reasons that occurred. */
  readonly drops: Readonly<Record<string, number>>;
  readonly roundTrip: RoundTripSummary;
  /** Kicks that the NICs heard and calls that they made. */
  readonly kicks: number;
  readonly calls: number;
  /** What NICs, drivers and protocol reported as wrong. */
  readonly problems: readonly string[];
}

/** Every drop counter above zero, named after the place and the reason. */
export function dropsOf(
  name: string,
  card: NetStatistics,
  driver: NetDriverStatistics,
): Record<string, number> {
  const drops: Record<string, number> = {};
  for (const { direction, drops: reasons } of card.queues) {
    for (const [reason, count] of Object.entries(reasons)) {
      drops[`NIC ${name} ${direction}: ${reason}`] = count;
    }
  }
  for (const [reason, count] of Object.entries(driver.drops)) {
    drops[`guest ${name} receive: ${reason}`] = count;
  }
  return Object.fromEntries(Object.entries(drops).filter(([, count]) => count > 0));
}

/** The value below which `share` (0 to 1) of the samples lie. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const count = (value: number) => Math.round(value).toLocaleString('en-US');

/** The closing table, as lines. */
export function summaryLines(summary: Summary): string[] {
  const { directions, drops, roundTrip, problems } = summary;
  const rows = [
    ['', 'sent', 'received', 'bytes', 'frames/s', 'Mbit/s', 'missing', 'damaged', 'reordered'],
    ...directions.map((each) => [
      `${each.from} → ${each.to}`,
      count(each.sent),
      count(each.received),
      count(each.bytes),
      count(each.framesPerSecond),
      count(each.megabitsPerSecond),
      count(each.missing),
      count(each.damaged),
      count(each.outOfOrder),
    ]),
  ];
  const dropped = Object.entries(drops).map(([reason, frames]) => `${reason} ${count(frames)}`);
  const { seconds, kicks, calls } = summary;
  return [
    ...table(rows),
    '',
    `total       ${count(summary.frames)} frames, ${count(summary.bytes)} bytes in ${seconds.toFixed(2)} s: ` +
      `${count(summary.frames / seconds)} frames/s`,
    `drops       ${dropped.length === 0 ? 'none' : dropped.join(', ')}`,
    `round trip  ${count(roundTrip.count)} pings, p50 ${count(roundTrip.p50)} µs, p99 ${count(roundTrip.p99)} µs`,
    `events      ${count(kicks)} kicks, ${count(calls)} calls`,
    ...problems.map((problem) => `problem     ${problem}`),
    '',
    summary.ok
      ? 'every frame arrived intact and in order'
      : 'FAILED: not every frame arrived intact and in order',
  ];
}

/** Columns under each other: the first to the left, numbers to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd(),
  );
}
