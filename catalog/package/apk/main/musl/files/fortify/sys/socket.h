#include_next <sys/socket.h>
#ifndef _ASHLAR_FORTIFY_SYS_SOCKET_H
#define _ASHLAR_FORTIFY_SYS_SOCKET_H
#include "../fortify.h"
#ifdef __ASHLAR_FORTIFY

__fortify_real(ssize_t, recv, (int, void *, size_t, int));
__fortify_real(ssize_t, send, (int, const void *, size_t, int));
__fortify_real(ssize_t, recvfrom, (int, void *__restrict, size_t, int, struct sockaddr *__restrict, socklen_t *__restrict));

__fortified ssize_t recv(int __fd, void *__p, size_t __n, int __flags)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_recv(__fd, __p, __n, __flags);
}

__fortified ssize_t send(int __fd, const void *__p, size_t __n, int __flags)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_send(__fd, __p, __n, __flags);
}

__fortified ssize_t recvfrom(int __fd, void *__restrict __p, size_t __n, int __flags, struct sockaddr *__restrict __from, socklen_t *__restrict __len)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_recvfrom(__fd, __p, __n, __flags, __from, __len);
}

#endif
#endif
