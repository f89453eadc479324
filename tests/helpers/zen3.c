/* Preloaded into a process on Linux, this lets it see an AMD Zen 3 wherever it asks with CPUID for
   vendor, model, instructions and caches: the kernel can have CPUID fault on most Intel processors
   (arch_prctl(ARCH_CPUID_SET, 0)), and the fault is answered here. Instructions run as they are. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static long let_cpuid_pass(int pass) { return syscall(SYS_arch_prctl, 0x1012, pass); }

static void zen3(uint32_t leaf, uint32_t part, uint32_t r[4]) { /* r: eax, ebx, ecx, edx */
    static const char name[49] = "AMD EPYC 7B13 64-Core Processor                ";
    static const uint32_t caches[5][4] = {
        {0x4121, 0x01C0003F, 0x3F, 0},  {0x4122, 0x01C0003F, 0x3F, 0}, /* 32 KiB, 32 KiB */
        {0x4143, 0x01C0003F, 0x3FF, 2}, {0xC163, 0x03C0003F, 0x7FFF, 1}, /* 512 KiB, 32 MiB */
    };
    let_cpuid_pass(1);
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(part));
    let_cpuid_pass(0);
    if (leaf == 0 || leaf == 0x80000000) {
        r[0] = leaf ? 0x80000023 : 0x10;
        r[1] = 0x68747541, r[3] = 0x69746e65, r[2] = 0x444d4163; /* AuthenticAMD */
    } else if (leaf == 1) {
        r[0] = 0x00A00F11, r[2] &= ~((1u << 18) | (1u << 24)), r[3] = 0x178BFBFF;
    } else if (leaf == 7 && part == 0) { /* AVX2 and FMA, but no AVX-512 and no AMX */
        r[0] = 0, r[3] = 0x10;
        r[1] &= ~(1u << 16 | 1u << 17 | 1u << 21 | 3u << 26 | 1u << 28 | 3u << 30);
        r[2] &= ~(1u << 1 | 1u << 5 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
    } else if (leaf == 0x80000001) {
        r[0] = 0x00A00F11, r[1] = 0x40000000, r[2] = 0x75C237FF, r[3] = 0x2FD3FBFF;
    } else if (leaf >= 0x80000002 && leaf <= 0x80000004) {
        memcpy(r, name + 16 * (leaf - 0x80000002), 16);
    } else if (leaf == 0x80000005) {
        r[0] = r[1] = 0xFF40FF40, r[2] = r[3] = 0x20080140;
    } else if (leaf == 0x80000006) {
        r[0] = 0x48006400, r[1] = 0x68006400, r[2] = 0x02006140, r[3] = 0x01009140;
    } else if (leaf == 0x8000001D) {
        memcpy(r, caches[part < 4 ? part : 4], 16);
    } else if (leaf == 0x8000001E) {
        r[0] = r[2] = r[3] = 0, r[1] = 0x100;
    } else if (leaf == 2 || leaf == 4 || leaf == 7 || (leaf > 0xD && leaf < 0x40000000)
               || leaf > 0x8000001E) {
        memset(r, 0, 16);
    }
}

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *instruction = (const uint8_t *)registers[REG_RIP];
    uint32_t r[4];
    (void)info;
    if (instruction[0] != 0x0f || instruction[1] != 0xa2) { /* a true fault */
        signal(number, SIG_DFL);
        return;
    }
    zen3((uint32_t)registers[REG_RAX], (uint32_t)registers[REG_RCX], r);
    registers[REG_RAX] = r[0], registers[REG_RBX] = r[1];
    registers[REG_RCX] = r[2], registers[REG_RDX] = r[3];
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer};
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, NULL);
    if (let_cpuid_pass(0)) {
        static const char text[] = "zen3: CPUID cannot be made to fault here\n";
        (void)!write(2, text, sizeof text - 1);
        _exit(77);
    }
}
