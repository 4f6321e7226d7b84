import t, { type Test } from 'tap';
import { type Outcome, runCli, runHere } from './run-cli.js';

/** One line, naming the fault and the fix; no stack trace; nothing on stdout. */
function assertOneLine(t: Test, outcome: Outcome, code: number, pattern: RegExp): void {
  t.match(outcome.stderr, pattern);
  t.match(outcome.stderr, /^rxvhost: [^\n]+\n$/, 'one line');
  t.notMatch(outcome.stderr, /\n\s+at /, 'no stack trace');
  t.equal(outcome.stdout, '');
  t.equal(outcome.code, code);
}

const SOCKET = '--socket-path=/tmp/tapcli-unused.sock';
const OTHER = '--socket-path=/tmp/tapcli-other.sock';
const NULL = '--backend=null';
const MAC = '--mac=52:54:00:00:00:01';

const BAD_COMMAND_LINES: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no command', [], /rxvhost net/],
  ['an unknown command', ['nett'], /unknown command 'nett'.*rxvhost net/],
  ['a name of Object.prototype as command', ['constructor'], /unknown command/],
  ['an unknown option', ['net', '--sokcet-path=/x'], /unknown option --sokcet-path.*--help/],
  ['an unknown short option', ['net', '-x'], /unknown option -x/],
  ['a stray argument', ['net', SOCKET, NULL, 'tap0'], /unexpected argument 'tap0'/],
  ['no socket', ['net', NULL], /--socket-path=PATH, or --fd=N/],
  ['both sockets', ['net', SOCKET, '--fd=3', NULL], /exclude each other/],
  ['no backend', ['net', SOCKET], /--backend=.*null.*loopback.*tap:ifname=NAME.*fd:N/],
  ['an option without its value', ['net', '--socket-path'], /--socket-path=PATH/],
  ['an option with an empty value', ['net', '--socket-path='], /--socket-path=PATH/],
  ['an option in place of a value', ['net', '--mac', '--once'], /--mac needs a value/],
  ['a switch with a value', ['net', SOCKET, NULL, '--once=yes'], /--once takes no value/],
  ['an option given twice', ['net', SOCKET, NULL, NULL], /--backend is given twice/],
  ['an option given twice for all', ['net', NULL, NULL, SOCKET, OTHER], /--backend is given twice/],
  ['an option given twice for one', ['net', SOCKET, OTHER, NULL, NULL], /--backend is given twice/],
  ['two cards at one path', ['net', NULL, SOCKET, SOCKET], /unused.sock is given twice: each card/],
  ['two cards at one fd', ['net', NULL, '--fd=3', '--fd=3'], /fd 3 is given twice: each card/],
  [
    'a card without a backend',
    ['net', SOCKET, OTHER, NULL],
    /unused.sock attached to\? Give --back/,
  ],
  ['cards met in two ways', ['net', NULL, SOCKET, '--fd=3'], /exclude each other: use one of them/],
  [
    'one MAC for two cards',
    ['net', NULL, MAC, SOCKET, OTHER],
    /give --mac after its --socket-path/,
  ],
  ['no worker', ['net', SOCKET, NULL, '--workers=0'], /--workers=0 is not a number from 1 to 256/],
  ['workers that are no number', ['net', SOCKET, NULL, '--workers=all'], /=all.*1 to 256, as 2/],
  [
    'workers given for one card each',
    ['net', '--workers=1', SOCKET, NULL, OTHER, NULL, '--workers=1'],
    /--workers is given twice/,
  ],
  [
    'IP sockets in a worker',
    ['net', SOCKET, NULL, OTHER, '--backend=ip:icmp', '--workers=2'],
    /IP protocols icmp works on the main thread only: leave --workers out/,
  ],
  [
    'an unknown backend',
    ['net', SOCKET, '--backend=tpa:ifname=x'],
    /unknown backend 'tpa'.*null.*loopback.*tap:.*fd:N/,
  ],
  [
    'a name of Object.prototype as backend',
    ['net', SOCKET, '--backend=toString'],
    /unknown backend/,
  ],
  ['an unknown backend option', ['net', SOCKET, '--backend=tap:name=x'], /tap:ifname=NAME/],
  ['a tap without a name', ['net', SOCKET, '--backend=tap'], /tap:ifname=NAME/],
  ['an empty tap name', ['net', SOCKET, '--backend=tap:ifname='], /tap:ifname=NAME/],
  ['a tap name that is too long', ['net', SOCKET, '--backend=tap:ifname=abcdefghijklmnop'], /15/],
  ['a tap name with a slash', ['net', SOCKET, '--backend=tap:ifname=a/b'], /'a\/b'.*not allowed/],
  ['an interface without a name', ['net', SOCKET, '--backend=raw'], /raw:ifname=NAME/],
  ['an interface name with a space', ['net', SOCKET, '--backend=raw:a b'], /'a b'.*not allowed/],
  [
    'an interface’s filter that is no MAC',
    ['net', SOCKET, '--backend=raw:a,mac=1'],
    /no MAC|not a MAC/,
  ],
  ['no IP protocol', ['net', SOCKET, '--backend=ip'], /ip:protocol=NAME/],
  [
    'an unknown IP protocol',
    ['net', SOCKET, '--backend=ip:icmp+imcp'],
    /'imcp'.*icmp, igmp.*1 to 254/,
  ],
  ['an IP protocol over 254', ['net', SOCKET, '--backend=ip:protocol=255'], /'255'/],
  [
    'a name of Object.prototype as IP protocol',
    ['net', SOCKET, '--backend=ip:toString'],
    /'toString'/,
  ],
  ['a macvtap without a name', ['net', SOCKET, '--backend=macvtap'], /macvtap:ifname=NAME/],
  ['a macvtap name that is too long', ['net', SOCKET, '--backend=macvtap:abcdefghijklmnop'], /15/],
  ['a repeated backend option', ['net', SOCKET, '--backend=tap:ifname=a,ifname=b'], /given twice/],
  ['a backend option without a key', ['net', SOCKET, '--backend=null:x'], /write null/],
  ['no queue at all', ['net', SOCKET, '--backend=tap:ifname=a,queues=0'], /queues=0.*1 to 16/],
  ['more queues than there may be', ['net', SOCKET, '--backend=loopback:queues=17'], /1 to 16/],
  ['queues that are no number', ['net', SOCKET, '--backend=null:queues=two'], /1 to 16/],
  ['an unknown offload', ['net', SOCKET, NULL, '--offloads=-host-tso5'], /'host-tso5|host-tso4/],
  ['an empty offload', ['net', SOCKET, NULL, '--offloads=csum,'], /'' is not known/],
  ['an unknown way to use a ring', ['net', SOCKET, NULL, '--rings=split'], /'split' is not known/],
  ['an offload without its base', ['net', SOCKET, NULL, '--offloads=none,host-tso4'], /need csum/],
  ['a backend fd that is no number', ['net', SOCKET, '--backend=fd:x'], /fd:x.*descriptor/],
  ['no backend fd', ['net', SOCKET, '--backend=fd'], /fd:N/],
  [
    'a short MAC',
    ['net', SOCKET, NULL, '--mac=52:54:00'],
    /--mac=52:54:00 is not a MAC.*52:54:00:12/,
  ],
  ['a multicast MAC', ['net', SOCKET, NULL, '--mac=01:00:5e:00:00:01'], /multicast/],
  ['a zero MAC', ['net', SOCKET, NULL, '--mac=00:00:00:00:00:00'], /zero/],
  ['an MTU that is no number', ['net', SOCKET, NULL, '--mtu=9k'], /--mtu=9k.*68 to 65535/],
  ['an MTU that is too small', ['net', SOCKET, NULL, '--mtu=67'], /68 to 65535/],
  ['an MTU that is too large', ['net', SOCKET, NULL, '--mtu=65536'], /68 to 65535/],
  ['a queue size of no power of two', ['net', SOCKET, NULL, '--queue-size=1000'], /power of two/],
  ['a queue size of 0', ['net', SOCKET, NULL, '--queue-size=0'], /power of two/],
  ['a queue size over 32768', ['net', SOCKET, NULL, '--queue-size=65536'], /32768/],
  ['a negative fd', ['net', '--fd', '-1', NULL], /--fd=-1.*descriptor/],
  ['an fd that is no number', ['net', '--fd=three', NULL], /--fd=three.*descriptor/],
  ['a path too long', ['net', `--socket-path=/tmp/${'x'.repeat(120)}`, NULL], /at most 107/],
];

t.test('a wrong command line gets one line with the fix and exit code 2', async (t) => {
  for (const [name, args, pattern] of BAD_COMMAND_LINES) {
    await t.test(name, async (t) => assertOneLine(t, await runHere(args), 2, pattern));
  }
});

t.test('the process itself ends so too', async (t) => {
  assertOneLine(t, await runCli(['net', '--socket-path=x', '--backend=tpa']), 2, /'tpa'/);
  const { code, stdout } = await runCli(['net', '--fd=3', '--print-capabilities']);
  t.same(JSON.parse(stdout), { type: 'net', features: [] });
  t.equal(code, 0);
});

t.test('--help describes commands, options and backends on stdout', async (t) => {
  const overview = await runHere(['--help']);
  t.match(overview.stdout, /Usage: rxvhost COMMAND[\s\S]*net /);
  t.equal(overview.code, 0);
  for (const args of [
    ['net', '--help'],
    ['net', '-h'],
    ['net', '--mac=nonsense', '--help'],
  ]) {
    const help = await runHere(args);
    t.match(help.stdout, /--socket-path=PATH[\s\S]*--queue-size=N[\s\S]*tap:ifname=NAME/);
    t.equal(help.stderr, '');
    t.equal(help.code, 0);
  }
});

t.test('--version prints the version', async (t) => {
  const { code, stdout } = await runHere(['--version']);
  t.match(stdout, /^rxvhost \d+\.\d+\.\d+\n$/);
  t.equal(code, 0);
});

t.test('--print-capabilities prints one JSON object and ignores everything else', async (t) => {
  for (const rest of [[], ['--fd=nonsense', '--what', 'stray', '--backend=none']]) {
    const { code, stdout, stderr } = await runHere(['net', ...rest, '--print-capabilities']);
    t.same(JSON.parse(stdout), { type: 'net', features: [] });
    t.equal(stderr, '');
    t.equal(code, 0);
  }
});
