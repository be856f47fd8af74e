/* Goes beyond a buffer, or just not, in the way that the first argument names; the second is a number,
   the third a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <sys/socket.h>

struct pair { char first[8]; char second[8]; } pair;

int main(int argc, char **argv)
{
  char buffer[8];
  int n = argc > 2 ? atoi(argv[2]) : 0;
  const char *text = argc > 3 ? argv[3] : "";
  switch (argc > 1 ? argv[1][0] : 0) {
  case 'c': strcpy(buffer, text); break;
  case 'm': memcpy(buffer, text, n); break;
  case 's': sprintf(buffer, "%s", text); break;
  case 'n': snprintf(buffer, n, "%s", text); break;
  case 'p': strcpy(pair.first, text); memcpy(buffer, pair.first, sizeof buffer); break;
  case 'r': if (read(0, buffer, n) != n) return 3; break;
  case 'g': if (!fgets(buffer, n, stdin)) return 3; break;
  case 't': buffer[0] = 0; strcat(buffer, text); break;
  default: return 2;
  }
  return printf("%.8s\n", buffer) < 0;
}
