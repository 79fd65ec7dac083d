// Which forward of a device a visit means. Pure, so that the rule stands in one place: a port reaches only what was
// asked for as that port; 22 alone falls back to the first, because "the SSH of this device" needs no number.
import type { Forward } from '@sshoal/shared'

import { forwardName, type LiveForward } from '../forward.ts'

/** `name`: of `NAME.TARGET`; undefined: just `TARGET`. Undefined: the device offers none. */
export function whichForward<F extends Pick<LiveForward, 'request' | 'shown'>>(
  forwards: readonly F[],
  port: number,
  name?: string,
): F | undefined {
  const wanted = name?.toLowerCase()
  const among =
    wanted === undefined
      ? forwards
      : forwards.filter(
          (forward) => forward.shown.kind === 'named' && forwardName(forward.request) === wanted,
        )
  const asked = among.filter(({ request }) => request.bindPort === port)
  return (
    // A plain `-R 80:…` before a `-R web:80:…`: who means the latter can say so.
    asked.find(({ request }) => forwardName(request) === '') ??
    asked[0] ??
    among.find(({ request, shown }) => request.bindPort === 0 && isTold(shown, port)) ??
    (port === 22 ? among[0] : undefined)
  )
}

function isTold(shown: Forward, port: number): boolean {
  return shown.kind === 'named' && shown.port === port
}
