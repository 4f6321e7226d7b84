// A writer for the archive format of an initramfs, `newc` (Linux: Documentation/driver-api/
// early-userspace/buffer-format.rst): for each file a header of 13 hexadecimal fields, its name and
// its contents, each padded to 4 bytes. Times are 0 and inode numbers count up, so that equal files
// make equal archives; device nodes need no privilege, since they are only written down.

const fileType = { directory: 0o040000, character: 0o020000, regular: 0o100000, link: 0o120000 };

export class CpioArchive {
  #parts = [];
  #names = new Set();

  directory(name) {
    if (name === '' || this.#names.has(name)) return;
    this.directory(parent(name));
    this.#add(name, fileType.directory | 0o755, Buffer.alloc(0));
  }

  file(name, contents, mode = 0o644) {
    if (this.#names.has(name)) return;
    this.directory(parent(name));
    this.#add(name, fileType.regular | mode, contents);
  }

  link(name, target) {
    if (this.#names.has(name)) return;
    this.directory(parent(name));
    this.#add(name, fileType.link | 0o777, Buffer.from(target));
  }

  characterDevice(name, major, minor) {
    this.directory(parent(name));
    this.#add(name, fileType.character | 0o600, Buffer.alloc(0), [major, minor]);
  }

  /** The whole archive; nothing can be added afterwards. */
  finish() {
    this.#add('TRAILER!!!', 0, Buffer.alloc(0));
    return Buffer.concat(this.#parts);
  }

  #add(name, mode, contents, [major, minor] = [0, 0]) {
    this.#names.add(name);
    const inode = this.#names.size;
    const fields = [
      inode,
      mode,
      0,
      0,
      1,
      0,
      contents.length,
      0,
      0,
      major,
      minor,
      name.length + 1,
      0,
    ];
    const header = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    this.#parts.push(padded(Buffer.from(`070701${header}${name}\0`)), padded(contents));
  }
}

function parent(name) {
  return name.slice(0, Math.max(name.lastIndexOf('/'), 0));
}

function padded(bytes) {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
