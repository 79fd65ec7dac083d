/** A channel could not be opened: `code` is the reason number of RFC 4254 §5.1, the message is the peer's text. */
export class ChannelOpenError extends Error {
  readonly code: number

  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}
