#include_next <poll.h>
#ifndef _ASHLAR_FORTIFY_POLL_H
#define _ASHLAR_FORTIFY_POLL_H
#include "fortify.h"
#ifdef __ASHLAR_FORTIFY

__fortify_real(int, poll, (struct pollfd *, nfds_t, int));

__fortified int poll(struct pollfd *__p, nfds_t __n, int __wait)
{
  __fortify_trap(__n > __fortify_all(__p) / sizeof *__p);
  return __real_poll(__p, __n, __wait);
}

#endif
#endif
