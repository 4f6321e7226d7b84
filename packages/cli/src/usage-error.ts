/**
 * The command line itself is wrong: no machine could do what it asks. One line that says what is
 * wrong and what to write instead; the process ends with exit code 2.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * The command line is right, but this machine, now, cannot do it (a missing permission, a path in
 * use). One line that says why and what to do; the process ends with exit code 1.
 */
export class EnvironmentError extends Error {
  override readonly name = 'EnvironmentError';
}
