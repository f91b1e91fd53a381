/* Runs machine code of kernels on the cases of a file and writes what became of their buffers.
 *
 * usage: aarch64 CASES RESULTS
 *
 * Everything is made of 64-bit little-endian words; bytes are padded with zeros to whole words.
 *
 *   CASES:   count, then for each case
 *              bytes of code, scalars, buffers, first unit, unit after the last, bytes of scratch memory,
 *              the code, the scalars, then for each buffer: bytes, slack, contents
 *   RESULTS: for each case
 *              0, or 1 + the number of the block of memory (the buffers in order, then scratch) that was written
 *              outside of its bounds,
 *              then the contents of each buffer
 *
 * Each block of memory lies between pages without access and ends `slack` bytes before the second, so that a slack of 0
 * finds every access past the end, and an odd one makes addresses odd. A fault names the case and ends the run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, FILL = 0xa5, SCRATCH_FILL = 0x7f, MAX_BLOCKS = 64 };

typedef void kernel(uint8_t *const *bufs, const int64_t *scalars, int64_t lo, int64_t hi, uint8_t *scratch);

struct block {
    uint8_t *pages; /* the first accessible one */
    size_t mapped;  /* bytes of accessible pages */
    uint8_t *data;
    size_t len;
};

static volatile uint64_t current_case;
static uint8_t *volatile current_code;

static void die(const char *what) {
    fprintf(stderr, "case %llu: %s\n", (unsigned long long)current_case, what);
    _exit(3);
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    uint64_t pc = ((ucontext_t *)context)->uc_mcontext.pc;
    fprintf(stderr, "case %llu: signal %d at code byte %lld, address %p\n", (unsigned long long)current_case, signal,
            (long long)(pc - (uint64_t)current_code), info->si_addr);
    _exit(3);
}

static void *map(size_t bytes, int access) {
    void *pages = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        die("no memory");
    return pages;
}

static size_t whole_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static struct block allocate(size_t len, size_t slack, int fill) {
    struct block b = {.len = len, .mapped = whole_pages(len + slack + 64)};
    uint8_t *all = map(b.mapped + 2 * PAGE, PROT_NONE);
    b.pages = all + PAGE;
    if (mprotect(b.pages, b.mapped, PROT_READ | PROT_WRITE))
        die("no access to memory");
    b.data = b.pages + b.mapped - slack - len;
    memset(b.pages, FILL, b.mapped);
    memset(b.data, fill, len);
    return b;
}

static int damaged(const struct block *b) {
    for (const uint8_t *p = b->pages; p < b->data; p++)
        if (*p != FILL)
            return 1;
    for (const uint8_t *p = b->data + b->len; p < b->pages + b->mapped; p++)
        if (*p != FILL)
            return 1;
    return 0;
}

static void release(const struct block *b) { munmap(b->pages - PAGE, b->mapped + 2 * PAGE); }

static uint8_t *make_executable(const uint8_t *code, size_t bytes) {
    uint8_t *pages = map(whole_pages(bytes), PROT_READ | PROT_WRITE);
    memcpy(pages, code, bytes);
    if (mprotect(pages, whole_pages(bytes), PROT_READ | PROT_EXEC))
        die("no executable memory");
    __builtin___clear_cache((char *)pages, (char *)pages + bytes);
    return pages;
}

/* The place in the file of cases, and its end. */
static const uint8_t *next, *end;

static const uint8_t *take(uint64_t bytes) {
    uint64_t padded = (bytes + 7) / 8 * 8;
    if (padded < bytes || padded > (uint64_t)(end - next))
        die("the file ends too early");
    const uint8_t *at = next;
    next += padded;
    return at;
}

static uint64_t word(void) {
    uint64_t w;
    memcpy(&w, take(8), 8);
    return w;
}

static void put(FILE *out, const void *bytes, size_t len) {
    static const uint8_t zeros[8];
    if (fwrite(bytes, 1, len, out) != len || fwrite(zeros, 1, -len % 8, out) != -len % 8)
        die("cannot write");
}

static void run_case(FILE *out) {
    uint64_t code_bytes = word(), scalars = word(), count = word();
    int64_t lo = (int64_t)word(), hi = (int64_t)word();
    uint64_t scratch_bytes = word();
    if (count >= MAX_BLOCKS)
        die("too many buffers");
    uint8_t *code = make_executable(take(code_bytes), code_bytes);
    const int64_t *scalar_table = (const int64_t *)take(8 * scalars);
    struct block blocks[MAX_BLOCKS];
    uint8_t *bufs[MAX_BLOCKS];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t len = word(), slack = word();
        blocks[i] = allocate(len, slack, FILL);
        memcpy(blocks[i].data, take(len), len);
        bufs[i] = blocks[i].data;
    }
    /* Scratch memory is aligned to 64 bytes. */
    blocks[count] = allocate(scratch_bytes, -scratch_bytes % 64, SCRATCH_FILL);

    current_code = code;
    ((kernel *)code)(bufs, scalar_table, lo, hi, blocks[count].data);

    uint64_t status = 0;
    for (uint64_t i = 0; i <= count && !status; i++)
        status = damaged(&blocks[i]) ? i + 1 : 0;
    put(out, &status, 8);
    for (uint64_t i = 0; i < count; i++)
        put(out, blocks[i].data, blocks[i].len);
    for (uint64_t i = 0; i <= count; i++)
        release(&blocks[i]);
    munmap(code, whole_pages(code_bytes));
}

int main(int argc, char **argv) {
    if (argc != 3)
        die("usage: aarch64 CASES RESULTS");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    int file = open(argv[1], O_RDONLY);
    struct stat stat;
    if (file < 0 || fstat(file, &stat))
        die("cannot open the cases");
    next = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (next == MAP_FAILED)
        die("cannot map the cases");
    end = next + stat.st_size;
    FILE *out = fopen(argv[2], "wb");
    if (!out)
        die("cannot open the results");
    uint64_t count = word();
    for (current_case = 0; current_case < count; current_case++)
        run_case(out);
    if (fclose(out))
        die("cannot write");
    return 0;
}
