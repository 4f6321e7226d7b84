import { VhostError } from '@rxvhost/core';

/** The longest interface name: `IFNAMSIZ` less its closing zero byte. */
const MAX_NAME = 15;

/**
 * What is wrong with a network interface's name, by the kernel's own rules; `undefined` when
 * nothing is. `%` is refused too: the kernel would take it as a pattern and choose a name itself.
 */
export function interfaceNameFault(name: string): string | undefined {
  if (name === '') return 'an interface name has at least one character';
  if (Buffer.byteLength(name) > MAX_NAME) {
    return `interface name '${name}' is too long: at most ${MAX_NAME} bytes`;
  }
  if (name === '.' || name === '..' || /[/:%\s\0]/.test(name)) {
    return `interface name '${name}' is not allowed: no '/', ':', '%' or space, not '.' or '..'`;
  }
  return undefined;
}

/** Throws `EINVAL` for a name that no interface can have. */
export function checkInterfaceName(name: string): void {
  const fault = interfaceNameFault(name);
  if (fault !== undefined) throw new VhostError('EINVAL', fault);
}
