#include_next <unistd.h>
#ifndef _ASHLAR_FORTIFY_UNISTD_H
#define _ASHLAR_FORTIFY_UNISTD_H
#include "fortify.h"
#ifdef __ASHLAR_FORTIFY

__fortify_real(ssize_t, read, (int, void *, size_t));
__fortify_real(ssize_t, write, (int, const void *, size_t));
__fortify_real(ssize_t, pread, (int, void *, size_t, off_t));
__fortify_real(ssize_t, pwrite, (int, const void *, size_t, off_t));
__fortify_real(ssize_t, readlink, (const char *__restrict, char *__restrict, size_t));
__fortify_real(int, gethostname, (char *, size_t));

__fortified ssize_t read(int __fd, void *__p, size_t __n)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_read(__fd, __p, __n);
}

__fortified ssize_t write(int __fd, const void *__p, size_t __n)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_write(__fd, __p, __n);
}

__fortified ssize_t pread(int __fd, void *__p, size_t __n, off_t __at)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_pread(__fd, __p, __n, __at);
}

__fortified ssize_t pwrite(int __fd, const void *__p, size_t __n, off_t __at)
{
  __fortify_trap(__n > __fortify_all(__p));
  return __real_pwrite(__fd, __p, __n, __at);
}

__fortified ssize_t readlink(const char *__restrict __path, char *__restrict __s, size_t __n)
{
  __fortify_trap(__n > __fortify_part(__s));
  return __real_readlink(__path, __s, __n);
}

__fortified int gethostname(char *__s, size_t __n)
{
  __fortify_trap(__n > __fortify_part(__s));
  return __real_gethostname(__s, __n);
}

#endif
#endif
