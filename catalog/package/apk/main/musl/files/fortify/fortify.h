/* What the headers beside this one share. They stand before musl's own of the same name and, where
   _FORTIFY_SOURCE asks for it, check the sizes of buffers that the compiler knows: what would go beyond
   one ends the program instead. musl itself has no such checks. */
#ifndef _ASHLAR_FORTIFY_H
#define _ASHLAR_FORTIFY_H

#if defined(_FORTIFY_SOURCE) && _FORTIFY_SOURCE > 0 && defined(__OPTIMIZE__) && __OPTIMIZE__ > 0 && !defined(__cplusplus)
#define __ASHLAR_FORTIFY 1

/* A function of this kind takes the place of calls and leaves no code of its own. */
#define __fortified extern __inline __attribute__((__always_inline__, __gnu_inline__, __artificial__))

/* The function itself, under another name. */
#define __fortify_real(type, name, params) extern type __real_##name params __asm__(#name)

/* The bytes from p to the end of the object (all), or of the member (part), that it points to;
   the largest number if that is not known. */
#define __fortify_all(p) __builtin_object_size(p, 0)
#define __fortify_part(p) __builtin_object_size(p, _FORTIFY_SOURCE > 1)

#define __fortify_trap(beyond) do { if (beyond) __builtin_trap(); } while (0)

#endif
#endif
