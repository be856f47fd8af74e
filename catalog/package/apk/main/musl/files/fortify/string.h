#include_next <string.h>
#ifndef _ASHLAR_FORTIFY_STRING_H
#define _ASHLAR_FORTIFY_STRING_H
#include "fortify.h"
#ifdef __ASHLAR_FORTIFY

__fortified void *memcpy(void *__restrict __d, const void *__restrict __s, size_t __n)
{
  __fortify_trap(__n > __fortify_all(__d) || __n > __fortify_all(__s));
  return __builtin_memcpy(__d, __s, __n);
}

__fortified void *memmove(void *__d, const void *__s, size_t __n)
{
  __fortify_trap(__n > __fortify_all(__d) || __n > __fortify_all(__s));
  return __builtin_memmove(__d, __s, __n);
}

__fortified void *memset(void *__d, int __c, size_t __n)
{
  __fortify_trap(__n > __fortify_all(__d));
  return __builtin_memset(__d, __c, __n);
}

__fortified char *strcpy(char *__restrict __d, const char *__restrict __s)
{
  if (__fortify_part(__d) != (size_t)-1)
    __fortify_trap(__builtin_strlen(__s) >= __fortify_part(__d));
  return __builtin_strcpy(__d, __s);
}

__fortified char *strncpy(char *__restrict __d, const char *__restrict __s, size_t __n)
{
  __fortify_trap(__n > __fortify_part(__d));
  return __builtin_strncpy(__d, __s, __n);
}

__fortified char *strcat(char *__restrict __d, const char *__restrict __s)
{
  if (__fortify_part(__d) != (size_t)-1)
    __fortify_trap(__builtin_strlen(__d) + __builtin_strlen(__s) >= __fortify_part(__d));
  return __builtin_strcat(__d, __s);
}

__fortified char *strncat(char *__restrict __d, const char *__restrict __s, size_t __n)
{
  if (__fortify_part(__d) != (size_t)-1) {
    size_t __m = strnlen(__s, __n);
    __fortify_trap(__builtin_strlen(__d) + __m >= __fortify_part(__d));
  }
  return __builtin_strncat(__d, __s, __n);
}

#if defined(_POSIX_SOURCE) || defined(_POSIX_C_SOURCE) || defined(_XOPEN_SOURCE) || defined(_GNU_SOURCE) || defined(_BSD_SOURCE)
__fortified char *stpcpy(char *__restrict __d, const char *__restrict __s)
{
  if (__fortify_part(__d) != (size_t)-1)
    __fortify_trap(__builtin_strlen(__s) >= __fortify_part(__d));
  return __builtin_stpcpy(__d, __s);
}

__fortified char *stpncpy(char *__restrict __d, const char *__restrict __s, size_t __n)
{
  __fortify_trap(__n > __fortify_part(__d));
  return __builtin_stpncpy(__d, __s, __n);
}
#endif

#endif
#endif
