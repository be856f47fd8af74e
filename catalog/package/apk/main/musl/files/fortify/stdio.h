#include_next <stdio.h>
#ifndef _ASHLAR_FORTIFY_STDIO_H
#define _ASHLAR_FORTIFY_STDIO_H
#include "fortify.h"
#ifdef __ASHLAR_FORTIFY

__fortify_real(char *, fgets, (char *__restrict, int, FILE *__restrict));
__fortify_real(size_t, fread, (void *__restrict, size_t, size_t, FILE *__restrict));
__fortify_real(size_t, fwrite, (const void *__restrict, size_t, size_t, FILE *__restrict));
__fortify_real(int, vsnprintf, (char *__restrict, size_t, const char *__restrict, __builtin_va_list));
__fortify_real(int, vsprintf, (char *__restrict, const char *__restrict, __builtin_va_list));
__fortify_real(int, snprintf, (char *__restrict, size_t, const char *__restrict, ...));
__fortify_real(int, sprintf, (char *__restrict, const char *__restrict, ...));

__fortified char *fgets(char *__restrict __s, int __n, FILE *__restrict __f)
{
  __fortify_trap(__n > 0 && (size_t)__n > __fortify_part(__s));
  return __real_fgets(__s, __n, __f);
}

__fortified size_t fread(void *__restrict __p, size_t __size, size_t __n, FILE *__restrict __f)
{
  __fortify_trap(__size && __n > __fortify_all(__p) / __size);
  return __real_fread(__p, __size, __n, __f);
}

__fortified size_t fwrite(const void *__restrict __p, size_t __size, size_t __n, FILE *__restrict __f)
{
  __fortify_trap(__size && __n > __fortify_all(__p) / __size);
  return __real_fwrite(__p, __size, __n, __f);
}

__fortified __attribute__((__format__(__printf__, 3, 0)))
int vsnprintf(char *__restrict __s, size_t __n, const char *__restrict __f, __builtin_va_list __v)
{
  __fortify_trap(__n > __fortify_part(__s));
  return __real_vsnprintf(__s, __n, __f, __v);
}

__fortified __attribute__((__format__(__printf__, 2, 0)))
int vsprintf(char *__restrict __s, const char *__restrict __f, __builtin_va_list __v)
{
  int __r;
  if (__fortify_part(__s) == (size_t)-1)
    return __real_vsprintf(__s, __f, __v);
  __r = __real_vsnprintf(__s, __fortify_part(__s), __f, __v);
  __fortify_trap(__r >= 0 && (size_t)__r >= __fortify_part(__s));
  return __r;
}

__fortified __attribute__((__format__(__printf__, 3, 4)))
int snprintf(char *__restrict __s, size_t __n, const char *__restrict __f, ...)
{
  __fortify_trap(__n > __fortify_part(__s));
  return __real_snprintf(__s, __n, __f, __builtin_va_arg_pack());
}

__fortified __attribute__((__format__(__printf__, 2, 3)))
int sprintf(char *__restrict __s, const char *__restrict __f, ...)
{
  int __r;
  if (__fortify_part(__s) == (size_t)-1)
    return __real_sprintf(__s, __f, __builtin_va_arg_pack());
  __r = __real_snprintf(__s, __fortify_part(__s), __f, __builtin_va_arg_pack());
  __fortify_trap(__r >= 0 && (size_t)__r >= __fortify_part(__s));
  return __r;
}

#endif
#endif
