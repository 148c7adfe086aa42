"""Makes the JVM's cache of Kafka's loaded classes, once a machine: with it the broker starts in half the time."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from deploy.local.kafka import KafkaNode
from deploy.local.kafka_jars import cache_folder, start_up_cache
from deploy.local.ports import free_port
from deploy.local.process import start_process

# The JVM writes the cache as it ends.
WRITING_TIMEOUT_SECONDS = 120


async def make_start_up_cache(log: Path) -> None:
    """Start a broker of no other use, at the lowest priority, and let the JVM note what it loaded."""
    if start_up_cache().exists():
        return
    folder = Path(tempfile.mkdtemp(dir=cache_folder(), prefix="warming-"))
    try:
        node = KafkaNode(folder=folder, port=free_port(), controller_ports={1: free_port()})
        await node.prepare(log)
        cache = folder / "kafka.aot"
        program = node.program(f"-XX:AOTCacheOutput={cache}")
        program = replace(
            program,
            command=["nice", "-n", "19", *program.command],
            ready_timeout_seconds=WRITING_TIMEOUT_SECONDS,
            stop_timeout_seconds=WRITING_TIMEOUT_SECONDS,
        )
        process = await start_process(program, log=log, echo=lambda _name, _line: None)
        try:
            await process.wait_until_ready()
            wrote = await process.stop()
        finally:
            process.kill()
        if wrote and cache.exists():
            cache.rename(start_up_cache())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
