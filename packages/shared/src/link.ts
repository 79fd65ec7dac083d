// The two ends of the cluster link as types: what a slave says, what a master says; and what the handshake signs.
import { LINK_CONTEXT, masterNotices, masterRequests, slaveNotices, slaveRequests } from './protocol.ts'
import { compileSpeech, type NoticeHandlers, type RequestHandlers, type Wire } from './wire.ts'

export const slaveSpeech = compileSpeech({ notices: slaveNotices, requests: slaveRequests })
export const masterSpeech = compileSpeech({ notices: masterNotices, requests: masterRequests })

type SlaveSpeech = (typeof slaveSpeech)['speech']
type MasterSpeech = (typeof masterSpeech)['speech']

/** The link as the slave holds it. */
export type SlaveWire = Wire<SlaveSpeech, MasterSpeech>
/** The link as the master holds it. */
export type MasterWire = Wire<MasterSpeech, SlaveSpeech>

export type SlaveNoticeHandlers = NoticeHandlers<SlaveSpeech['notices']>
export type SlaveRequestHandlers = RequestHandlers<SlaveSpeech['requests']>
export type MasterNoticeHandlers = NoticeHandlers<MasterSpeech['notices']>
export type MasterRequestHandlers = RequestHandlers<MasterSpeech['requests']>

/** The bytes that a slave signs with its first host key. */
export function linkProof(nonce: string, slave: string): Buffer {
  return Buffer.from(`${LINK_CONTEXT}\0${nonce}\0${slave}\0`)
}
