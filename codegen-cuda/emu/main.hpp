// Commands from standard input, answers to standard output: memory, copies, launches. `launches` is the table of kernels.
template <class T> static T get() {
    T value;
    if (fread(&value, sizeof value, 1, stdin) != 1) emulator::fail("a command ended early");
    return value;
}

int main() {
    std::vector<uint64_t> args;
    for (int command; (command = getchar()) != EOF;) {
        switch (command) {
            case 'A': {
                const uint64_t bytes = get<uint64_t>(), size = (bytes + 256) / 256 * 256;
                void* memory = aligned_alloc(256, size);
                if (!memory) emulator::fail("out of memory");
                // What nobody wrote is no number.
                memset(memory, 0xff, size);
                const uint64_t address = (uint64_t)memory;
                fwrite(&address, 8, 1, stdout);
                fflush(stdout);
                break;
            }
            case 'W': {
                char* to = (char*)get<uint64_t>();
                const uint64_t bytes = get<uint64_t>();
                if (bytes > 0 && fread(to, bytes, 1, stdin) != 1) emulator::fail("an upload ended early");
                break;
            }
            case 'C': {
                const char* from = (const char*)get<uint64_t>();
                char* to = (char*)get<uint64_t>();
                memcpy(to, from, get<uint64_t>());
                break;
            }
            case 'L': {
                const uint32_t kernel = get<uint32_t>();
                uint32_t grid[3];
                for (auto& n : grid) n = get<uint32_t>();
                const uint32_t threads = get<uint32_t>();
                args.resize(get<uint32_t>());
                for (auto& arg : args) arg = get<uint64_t>();
                if (kernel >= sizeof launches / sizeof *launches) emulator::fail("there is no such kernel");
                emulator::launch(launches[kernel], grid, threads, args.data());
                break;
            }
            case 'R': {
                const char* from = (const char*)get<uint64_t>();
                fwrite(from, get<uint64_t>(), 1, stdout);
                fflush(stdout);
                break;
            }
            default: emulator::fail("unknown command");
        }
    }
}
