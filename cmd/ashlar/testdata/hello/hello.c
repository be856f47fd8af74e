#include <stdio.h>

int main(void) {
	puts("hello from a squared stone");
	return 0;
}
