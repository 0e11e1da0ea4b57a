"""Chat templates in the shapes that the supported families have: own texts, the switches as the originals have them."""

from __future__ import annotations

# ChatML with a default system prompt, as SmolLM2 and Qwen2 have it.
CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nYou are a test.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Qwen3: answers before the last question lose their reasoning; no default system prompt.
THINKING = """
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set state = namespace(last=0) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set state.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
    {%- set said = m.content %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\n' + said + '<|im_end|>' + '\n' }}
    {%- elif m.role == 'assistant' %}
        {%- if '</think>' in said %}{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > state.last %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
        {{- said + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}
"""
# Llama 2: the system message within the first user message, which is stripped as a whole.
INST_SYS = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}"
    "{% if loop.first and system != false %}{% set said = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m.content %}"
    "{% else %}{% set said = m.content %}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Llama 3.1 and 3.2: headers, a system message always, and the day's date in it.
HEADERS = (
    "{{- bos_token }}{% set day = strftime_now('%d %b %Y') %}"
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nKnows until: 2023\nToday: ' + day + '\n\n' + system "
    "+ '<|eot_id|>' }}"
    "{% for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim "
    "+ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Mistral 7B v0.1 and v0.2, which put a system message into the first user message.
INST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}"
    "{% if m.role == 'user' %}{% if loop.first and system is defined %}{{ ' [INST] ' + system + '\n\n' + m.content "
    "+ ' [/INST]' }}{% else %}{{ ' [INST] ' + m.content + ' [/INST]' }}{% endif %}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('roles') }}{% endif %}{% endfor %}"
)
# Mistral 7B v0.3, which puts it into the last one.
INST_LAST = INST.replace("loop.first and system", "loop.last and system")
# Gemma 2 refuses a system message, Gemma 3 puts it into the first user message.
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TURNS_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set ahead = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set ahead = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' "
    "+ (ahead if loop.first else '') }}{{ m.content | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# Phi-3, whose first version drops a system message and always asks for an answer.
ENDS = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ENDS_DROPPED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '<|user|>\n' + m.content + '<|end|>\n<|assistant|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + '<|end|>\n' }}{% endif %}{% endfor %}"
)
# OLMo: only an answer that is not the last ends in a line.
ROLES = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|assistant|>\n' + m.content + eos_token + ('' if loop.last else '\n') }}"
    "{% else %}{{ '<|' + m.role + '|>\n' + m.content + '\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
# SmolLM3: a date, the system message behind other instructions, answers without their first empty lines; a word in the
# system message changes the prompt's end, which pieces cannot tell.
INSTRUCTIONS = (
    "{% set own = '' %}{% if messages[0].role == 'system' %}{% set own = messages[0].content | trim %}{% endif %}"
    "{% set mode = '/no_think' if '/no_think' in own else '/think' %}"
    "{% set own = own.replace('/no_think', '').replace('/think', '').rstrip() %}"
    "<|im_start|>system\n## Metadata\n\nToday Date: {{ strftime_now('%d %B %Y') }}\nReasoning Mode: {{ mode }}\n\n"
    "## Custom Instructions\n\n{{ own if own else 'Reason, then answer.' }}\n\n<|im_end|>\n"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{% generation %}{{ '<|im_start|>assistant\n' + m.content.lstrip('\n') "
    "+ '<|im_end|>\n' }}{% endgeneration %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if mode == '/no_think' %}{{ '<think>\n\n</think>\n' }}{% endif %}{% endif %}"
)

TEMPLATES = {
    "chatml": CHATML,
    "thinking": THINKING,
    "inst-sys": INST_SYS,
    "headers": HEADERS,
    "inst": INST,
    "inst-last": INST_LAST,
    "turns": TURNS,
    "turns-system": TURNS_SYSTEM,
    "ends": ENDS,
    "ends-dropped": ENDS_DROPPED,
    "roles": ROLES,
    "instructions": INSTRUCTIONS,
}
WITHOUT_SYSTEM = {"inst-last", "turns", "ends-dropped", "instructions"}
