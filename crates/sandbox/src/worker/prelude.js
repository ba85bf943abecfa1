// The global scope beyond the language. Everything that is used later is taken out of the globals now, because the
// code may replace them; what the code breaks, it breaks for itself only, as every call has its own interpreter.
(host) => {
  'use strict';
  const { isArray } = Array, { stringify } = JSON, { isView } = ArrayBuffer, { startsWith } = String.prototype;
  const Bytes = Uint8Array, Text = String;
  const define = (object, names) => {
    for (const name of Object.keys(names)) {
      Object.defineProperty(object, name, { value: names[name], writable: true, configurable: true, enumerable: false });
    }
    return object;
  };
  const named = (name, message) => define(new Error(message), { name });
  const orThrow = (result) => {
    if (isArray(result)) throw named(result[0], result[1]);
    return result;
  };

  // A place on the stack would hand out the functions on it, ours among them.
  const { prepareStackTrace } = Error;
  Error.prepareStackTrace = (_, places) => places;
  const Place = Object.getPrototypeOf(new Error('').stack[0]);
  Error.prepareStackTrace = prepareStackTrace;
  for (const name of ['getFunction', 'getThis']) delete Place[name];

  const shown = (value) => {
    switch (typeof value) {
      case 'string': return value;
      case 'bigint': return `${value}n`;
      case 'function': return `[function ${value.name}]`;
      case 'object':
        if (value instanceof Error) return `${value.name}: ${value.message}`;
        try { return stringify(value); } catch { return '[object]'; }
      default: return Text(value);
    }
  };
  const log = (...values) => {
    let line = '';
    for (let i = 0; i < values.length; i++) line += (i ? ' ' : '') + shown(values[i]);
    host.log(line);
  };
  const console = define({}, { log, info: log, warn: log, error: log, debug: log, trace: log });

  // Files below /scratch/ live in the interpreter's memory and end with the call.
  const scratch = new Map(), { get: kept, set: keep } = Map.prototype, { apply } = Reflect;
  const readTextSync = (path) => {
    const bytes = apply(kept, scratch, [Text(path)]);
    return bytes ? host.decode(bytes, false) : orThrow(host.read(Text(path), true));
  };
  const readBytesSync = (path) => {
    const bytes = apply(kept, scratch, [Text(path)]);
    return bytes ? new Bytes(bytes) : orThrow(host.read(Text(path), false));
  };
  const readText = async (path) => readTextSync(path);
  const readBytes = async (path) => readBytesSync(path);
  const encodingOf = (options) => (typeof options === 'string' ? options : options?.encoding);
  const readSync = (path, options) => (encodingOf(options) ? readTextSync(path) : readBytesSync(path));
  const refused = (write, what, words) => {
    host.refuse(write, Text(what));
    throw named('PermissionDenied', words);
  };
  const writeSync = (path, data) => {
    const name = Text(path);
    if (!apply(startsWith, name, ['/scratch/'])) {
      refused(true, name, `writing ${stringify(name)} is not permitted: only /scratch/ can be written, in memory`);
    }
    const bytes = isView(data) ? new Bytes(bytesOf(data)) : host.encode(Text(data));
    apply(keep, scratch, [name, bytes]);
  };
  const write = async (path, data) => writeSync(path, data);
  const fetch = async (url) => refused(false, url?.url ?? url, 'connecting is not permitted: code has no network');

  const bytesOf = (data) => {
    if (data === undefined) return new Bytes(0);
    if (isView(data)) return new Bytes(data.buffer, data.byteOffset, data.byteLength);
    return new Bytes(data);
  };
  class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return host.encode(Text(text)); }
  }
  class TextDecoder {
    #fatal;
    constructor(label = 'utf-8', options = undefined) {
      if (!/^utf-?8$/i.test(label)) throw new RangeError(`only utf-8 can be decoded, not ${label}`);
      this.#fatal = !!options?.fatal;
    }
    get encoding() { return 'utf-8'; }
    get fatal() { return this.#fatal; }
    decode(data, options) {
      if (options?.stream) throw new TypeError('decoding in pieces is not supported');
      const text = host.decode(bytesOf(data), this.#fatal);
      if (text === null) throw new TypeError('the bytes are not utf-8');
      return text;
    }
  }

  const structuredClone = (value) => {
    const seen = new Map();
    const clone = (v) => {
      if (typeof v === 'function' || typeof v === 'symbol') throw named('DataCloneError', `${Text(v)} cannot be cloned`);
      if (typeof v !== 'object' || v === null) return v;
      if (seen.has(v)) return seen.get(v);
      const keep = (copy) => (seen.set(v, copy), copy);
      if (v instanceof Date) return keep(new Date(v.getTime()));
      if (v instanceof RegExp) return keep(new RegExp(v.source, v.flags));
      if (v instanceof ArrayBuffer) return keep(v.slice(0));
      if (v instanceof DataView) return keep(new DataView(clone(v.buffer), v.byteOffset, v.byteLength));
      if (isView(v)) return keep(new v.constructor(clone(v.buffer), v.byteOffset, v.length));
      if (v instanceof Map) {
        const copy = keep(new Map());
        for (const [key, item] of v) copy.set(clone(key), clone(item));
        return copy;
      }
      if (v instanceof Set) {
        const copy = keep(new Set());
        for (const item of v) copy.add(clone(item));
        return copy;
      }
      const copy = keep(isArray(v) ? new Array(v.length) : {});
      if (v instanceof Error) define(copy, { name: v.name, message: v.message, stack: v.stack });
      for (const key of Object.keys(v)) copy[key] = clone(v[key]);
      return copy;
    };
    return clone(value);
  };

  // Tools: a call is a question to the parent, and its promise is settled when the answer comes.
  const { construct } = Reflect, Promised = Promise, Mirror = Proxy, open = Object.create(null);
  const callTool = async (name, values) => {
    const tool = Text(name), error = new Error('');
    const text = values === undefined ? '{}' : stringify(values);
    if (text === undefined || text[0] !== '{') throw new TypeError(`the arguments of ${tool} must be an object`);
    const question = host.call(tool, text);
    if (typeof question === 'string') throw new RangeError(question);
    return new Promised((resolve, reject) => { open[question] = { resolve, reject, error }; });
  };
  const settle = (question, value, failure, message) => {
    const { resolve, reject, error } = open[question];
    delete open[question];
    // The error was made where the tool was called, so that its stack names that line.
    if (failure) reject(define(error, { name: failure, message }));
    else resolve(value);
  };
  // The name `then` would make a namespace look like a promise; such a tool is called by `tools.call`.
  const namespace = (server) => new Mirror(Object.create(null), {
    get: (_, tool) => (typeof tool === 'string' && tool !== 'then' ? (values) => callTool(`${server}:${tool}`, values) : undefined),
    set: () => false,
  });
  const tools = ({ servers, ranked }) => {
    for (let i = 0; i < ranked.length; i++) {
      const { name } = ranked[i];
      define(ranked[i], { call: (values) => callTool(name, values) });
    }
    define(ranked, { call: callTool });
    for (let i = 0; i < servers.length; i++) {
      if (!(servers[i] in ranked)) define(ranked, { [servers[i]]: namespace(servers[i]) });
    }
    return ranked;
  };

  // A clock that stands still, chance from a seed, and nothing that tells when memory is collected.
  const fix = (now, a, b) => {
    const RealDate = Date, realString = Date.prototype.toString;
    function FixedDate(...parts) {
      if (!new.target) return apply(realString, new RealDate(now), []);
      return construct(RealDate, parts.length ? parts : [now], new.target);
    }
    define(FixedDate, { now: () => now, parse: RealDate.parse, UTC: RealDate.UTC });
    Object.defineProperty(FixedDate, 'name', { value: 'Date' });
    Object.defineProperty(FixedDate, 'length', { value: 7 });
    Object.defineProperty(FixedDate, 'prototype', { value: RealDate.prototype, writable: false });
    define(RealDate.prototype, { constructor: FixedDate });
    // sfc32 of PractRand, two words for the 53 bits of a number.
    let c = 0x9e3779b9 | 0, counter = 1;
    const next = () => {
      const word = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + word) | 0;
      return word >>> 0;
    };
    for (let i = 0; i < 12; i++) next();
    define(Math, { random: () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992 });
    define(globalThis, { Date: FixedDate });
    for (const name of ['performance', 'WeakRef', 'FinalizationRegistry']) delete globalThis[name];
  };

  define(globalThis, {
    console, TextEncoder, TextDecoder, structuredClone, fetch,
    readTextFile: readText,
    writeTextFile: write,
    Deno: define({}, {
      readTextFile: readText, readTextFileSync: readTextSync, readFile: readBytes, readFileSync: readBytesSync,
      writeTextFile: write, writeTextFileSync: writeSync, writeFile: write, writeFileSync: writeSync,
    }),
    fs: define({}, {
      readFileSync: readSync, writeFileSync: writeSync,
      promises: define({}, { readFile: async (path, options) => readSync(path, options), writeFile: write }),
    }),
  });
  return { fix, tools, settle };
}
