// A reader of DoF files, version 1, written from schemas/SPEC.md alone; "§" names its sections.
//
//   const file = await open(local('a.dof.parquet'))    // or memory(buffer), http(url), {size, read(offset, length)}
//   file.state, file.problems, file.dof                // 'sealed', …; [{id, message}]; the metadata
//   const vectors = await file.column('feature')       // once proved to be mapped (§6.5); null if it must be decoded
//   await vectors.group(0)                             // Float32Array: a view, not a copy, where the source is memory
//   await vectors.row(17)                              // reads the bytes of this row and no others
//   await file.check()                                 // every segment's digest: adds to file.problems
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { conform, strictJson } from './json.mjs'
import { Refused, levels, pageHeader, pages, readFooter, refuse, text } from './parquet.mjs'
import { digest, take } from './source.mjs'
export { Refused } from './parquet.mjs'
export { http, local, memory } from './source.mjs'

const SCHEMA = JSON.parse(readFileSync(new URL('../../schemas/dof.schema.json', import.meta.url)))
const sum = numbers => numbers.reduce((total, number) => total + number, 0)
const product = numbers => numbers.reduce((total, number) => total * number, 1)
const own = (object, name) => Object.hasOwn(object, name) ? object[name] : undefined
export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

/** 'unsealed', 'sealed' or 'broken' (§7.2) */
function sealState({ keys, tail }) {
  if (!keys.has('dof.seal')) return 'unsealed'
  const key = Buffer.from('1808646f662e7365616c1840', 'hex'), at = tail.indexOf(key), seal = at + key.length
  if (at < 0 || tail.indexOf(key, at + 1) >= 0) return 'broken'
  const digits = sha256(tail.subarray(0, seal), '0'.repeat(64), tail.subarray(seal + 64)).toString('hex')
  return digits === tail.toString('latin1', seal, seal + 64) ? 'sealed' : 'broken'
}

// --------------------------------------------------------------------------------------------- the metadata, §4

function metadata(keys) {
  if (!keys.has('dof')) refuse('metadata-absent', 'no key dof')
  let dof
  try { dof = strictJson(keys.get('dof')) } catch (error) { refuse('metadata-json', error.message) }
  const major = /^([0-9]+)\.[0-9]+$/.exec(dof?.version)?.[1]
  if (major !== undefined && Number(major) !== 1) refuse('metadata-version', dof.version)
  const problems = [...conform(dof, SCHEMA)]
  if (problems.length) throw new Refused(problems)
  const strange = dof.must_understand?.find(name => !Object.hasOwn(SCHEMA.properties, name))
  if (strange !== undefined) refuse('metadata-understand', strange)
  return { cores: {}, targets: {}, splits: {}, documents: [], ...dof, record: { id: 'id', ...dof.record } }
}

// ---------------------------------------------------------------------------------------- the mapped layout, §6

const signed = [1, Int32Array], unsigned = [1, Uint32Array], long = [2, BigInt64Array]
const MAPPED = {
  int8: signed, int16: signed, int32: signed, uint8: unsigned, uint16: unsigned, uint32: unsigned, int64: long,
  uint64: [2, BigUint64Array], float16: [7, Uint16Array], float32: [4, Float32Array], float64: [5, Float64Array],
  'date32[day]': signed, 'time32[ms]': signed, 'time64[us]': long, 'time64[ns]': long,
  'timestamp[ms]': long, 'timestamp[us]': long, 'timestamp[ns]': long,
}

/** [physical type, array of stored values], or undefined for what is never mapped */
export const stored = dtype => own(MAPPED, dtype.replace(/, tz=.*\]$/, ']'))

const varint = number => number < 128 ? [number] : [number % 128 + 128, ...varint(Math.floor(number / 128))]
const framed = bytes => { const length = Buffer.alloc(4); length.writeUInt32LE(bytes.length); return [length, bytes] }

/** All bytes that §6.2 prescribes before the values. */
export function preamble(rows, items, width, isVector) {
  const repetition = () => {
    if (items === 1) return Buffer.from([...varint(rows * 2), 0])
    const row = Buffer.from([3, 0xfe, ...varint(Math.max(items - 8, 0) * 2), 1])
    if (items > 32) return Buffer.alloc(rows * row.length, row)
    const bits = Buffer.alloc(Math.ceil(rows * items / 8), 0xff)
    for (let at = 0; at < rows * items; at += items) bits[at >> 3] &= ~(1 << (at & 7))
    if (rows * items % 8) bits[bits.length - 1] &= (1 << rows * items % 8) - 1
    return Buffer.from([...varint(bits.length * 2 + 1), ...bits])
  }
  const definition = () => Buffer.from([...varint(rows * items * 2), 1])
  const levels = Buffer.concat(isVector ? [...framed(repetition()), ...framed(definition())] : [])
  const size = [0x15, ...varint((levels.length + rows * width) * 2)], values = [0x15, ...varint(rows * items * 2)]
  const header = [0x15, 0, ...size, ...size, 0x2c, ...values, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0]
  return Buffer.concat([Buffer.from(header), levels])
}

/** Stored halves as floats. */
export const floats = halves => Float32Array.from(halves, half => {
  const sign = half & 0x8000 ? -1 : 1, exponent = half >> 10 & 31, fraction = (half & 1023) / 1024
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14)
})

/** A column whose values are used where they lie. */
class Mapped {
  constructor(fields) { Object.assign(this, fields) }                  // source, Type, items, width, regions, isVector
  typed(bytes) {
    const { Type } = this, there = bytes.byteOffset % Type.BYTES_PER_ELEMENT ? new Uint8Array(bytes) : bytes
    return new Type(there.buffer, there.byteOffset, there.length / Type.BYTES_PER_ELEMENT)
  }
  async group(number) {
    const { offset, rows } = this.regions[number]
    return this.typed(await take(this.source, offset, rows * this.width))
  }
  async row(number) {
    for (const { offset, rows } of this.regions) {
      if (number < rows) return this.typed(await take(this.source, offset + number * this.width, this.width))
      number -= rows
    }
    throw new RangeError('no such row')
  }
}

/** The proof of §6.5, from the pages or from the footer alone: a Mapped, or the reason why not. */
async function prove({ source, dof, footer, fromFooter }, name) {
  const { dtype, shape = [] } = dof.columns[name], isVector = shape.length > 0, items = product(shape)
  const [physical, Type] = stored(dtype) ?? [], width = items * Type?.BYTES_PER_ELEMENT
  if (!Type) return `${dtype} is never mapped`
  const is = (node, repetition, children) => node.repetition === repetition && node.children.length === children
  const field = footer.root.children.find(node => node.name === name), middle = field?.children[0]
  const leaf = isVector ? middle?.children[0] : field, index = footer.fields.indexOf(leaf)
  const named = !isVector || middle?.name === 'list' && leaf?.name === 'element' && is(field, 0, 1) && is(middle, 2, 1)
  const typed = leaf?.type === physical && is(leaf, 0, 0) && (physical !== 7 || leaf.width === 2)
  if (!named || !typed) return 'another Parquet type'
  const counts = footer.groups.map(({ rows }) => rows)
  if (counts.some(rows => rows < 1) || sum(counts) !== footer.rows) return 'row counts'
  const regions = []
  for (const { rows, chunks } of footer.groups) {
    const chunk = chunks[index], { begin, end, size } = chunk, values = rows * width
    if (!chunk.inside) return 'a chunk beyond the bounds'
    if (chunk.elsewhere !== undefined || chunk.dictionary !== undefined) return 'a dictionary, or another file'
    if (chunk.codec !== 0) return 'compressed'
    if (chunk.values !== rows * items || chunk.inflated !== size || size < values) return 'sizes'
    if (fromFooter) {
      const [{ type, encoding, count } = {}, more] = chunk.stats ?? []
      if (type !== 0 || encoding !== 0 || count !== 1 || more) return 'not one PLAIN page'
      if (preamble(rows, items, width, isVector).length + values !== size) return 'another size than prescribed'
    } else {
      const page = await take(source, begin, Math.min(64, size)).then(pageHeader).catch(() => null)
      if (!page) return 'no page header'
      const { data } = page
      if (page.type !== 0 || data?.encoding !== 0 || data.values !== rows * items) return 'not one PLAIN page'
      if (page.size !== size - page.length || page.inflated !== page.size) return 'a page of another size'
      let before = page.length
      if (isVector && (data.definition !== 3 || data.repetition !== 3)) return 'levels in another encoding'
      for (let left = isVector ? 2 : 0; left > 0; left--)
        before += 4 + (await take(source, Math.min(begin + before, end - 4), 4)).readUInt32LE()
      if (before + values !== size) return 'levels of another size'
    }
    regions.push({ offset: end - values, rows, begin })
  }
  return new Mapped({ source, Type, items, width, regions, isVector })
}

// ------------------------------------------------------------------------------------------------------ the file

/** Opens a source. Throws Refused where nothing can be made of the file; `problems` tells what else is wrong. */
export async function open(source, { fromFooter = false } = {}) {
  const footer = await readFooter(source), dof = metadata(footer.keys)
  const file = new File({ source, fromFooter, footer, dof, state: sealState(footer), problems: [], proofs: new Map() })
  file.opened()
  return file
}

class File {
  constructor(fields) { Object.assign(this, fields) }
  claim(ok, id, message = id) { if (!ok) this.problems.push({ id, message }) }

  opened() {
    const { footer: { keys, createdBy, chunks, begins, start }, dof, state } = this
    const generator = dof.provenance?.generator
    this.derived = state !== 'sealed' && (createdBy === undefined || createdBy !== generator)
    const stale = { integrity: undefined, uuid: undefined, splits: {}, errors: undefined, documents: [] }
    if (state !== 'sealed') Object.assign(dof, stale)
    this.claim(!this.derived, 'derived-copy', `written by ${createdBy}`)
    if (this.derived) return
    this.claim(state === 'sealed', state === 'broken' ? 'seal-false' : 'seal-missing', 'damaged')
    this.claim(begins, 'file-magic', 'it does not begin with PAR1')
    const copy = [...framed(keys.get('dof')), Buffer.alloc(1)], arrow = keys.get('ARROW:schema')
    this.claim(arrow, 'schema-arrow')
    const message = Buffer.from(text(arrow ?? Buffer.alloc(0)), 'base64')
    const whole = message.length >= 8 && message.readInt32LE() === -1 && message.readUInt32LE(4) === message.length - 8
    this.claim(!arrow || whole, 'footer-schema', 'no message of Arrow IPC')
    this.claim(!whole || message.includes(Buffer.concat(copy)), 'schema-copy')
    const coded = text(keys.get('dof.digests') ?? Buffer.alloc(0)), digests = Buffer.from(coded, 'base64')
    const wellFormed = coded && digests.length % 32 === 0 && digests.toString('base64') === coded
    this.claim(wellFormed, 'digests-form')
    if (!wellFormed) return
    const ends = chunks.map(({ end }) => end).sort((a, b) => a - b)
    this.digests = Array.from({ length: digests.length / 32 }, (_, at) => digests.subarray(at * 32, at * 32 + 32))
    this.segments = [...ends, start].map((end, at) => [at ? ends[at - 1] : 0, end])
    this.claim(this.digests.length === this.segments.length, 'digests-count')
  }

  /** The Mapped column, or null if it must be decoded: `proofs` then says why. */
  async column(name) {
    if (!Object.hasOwn(this.dof.columns, name)) throw new RangeError(`no column ${name}`)
    if (!this.proofs.has(name)) this.proofs.set(name, await prove(this, name))
    const proof = this.proofs.get(name)
    return proof instanceof Mapped ? proof : null
  }

  /** All values of a flat column of strings; or null if they are not PLAIN and uncompressed (§6.6). */
  async strings(name) {
    const index = this.footer.fields.findIndex(({ path }) => path[0] === name), all = []
    const { type, repetition, path } = this.footer.fields[index] ?? {}
    if (type !== 6 || repetition > 1 || path.length > 1) return null
    for (const { chunks } of this.footer.groups) {
      if (chunks[index].codec !== 0) return null
      for await (const { type, data, offset, size } of pages(this.source, chunks[index])) {
        if (type !== 0 || data.encoding !== 0) return null
        const bytes = await take(this.source, offset, size)
        let at = repetition ? 4 + bytes.readUInt32LE() : 0
        const present = repetition ? levels(bytes.subarray(4, at), data.values) : Array(data.values).fill(1)
        const next = () => bytes.toString('utf8', at += 4, at += bytes.readUInt32LE(at - 4))
        for (const one of present) all.push(one ? next() : null)
      }
    }
    return all
  }

  /** The bytes of an attachment, once range and digest are checked (§5). */
  async attachment({ offset, length, sha256: expected }) {
    const { chunks, start } = this.footer
    const behind = chunks.every(({ end }) => end <= offset)
    if (!behind || offset + length > start) refuse('attachment-bounds', 'not in the tail segment')
    const bytes = await take(this.source, offset, length)
    return sha256(bytes).toString('hex') === expected ? bytes : refuse('attachment-digest', 'other bytes')
  }
  async document(name) { return this.attachment(this.dof.documents.find(document => document.name === name)) }
  async errors() {
    const lines = this.dof.errors ? text(await this.attachment(this.dof.errors)).split('\n') : ['']
    const parsed = lines.slice(0, -1).map(line => strictJson(Buffer.from(line)))
    const sound = parsed.every(error => ['id', 'rule', 'reason'].every(key => typeof error?.[key] === 'string'))
    const told = sound && lines.at(-1) === '' && parsed.length === (this.dof.errors?.rows ?? 0)
    return told ? parsed : refuse('errors-table', 'not as described')
  }

  /** Compares the digests of all segments with those of the footer (§7.1). */
  async check() {
    if (!this.segments || this.digests.length !== this.segments.length) return
    for (const [at, [from, to]] of this.segments.entries()) {
      const found = await digest(this.source, from, to).catch(() => null)
      this.claim(found?.equals(this.digests[at]), 'digest-false', `segment ${at}`)
    }
  }
}
