-- The two enums of chat_messages, created where missing and extended where they exist.
-- They have a file of their own: the transaction that adds a value to an enum cannot use it.

do $$
begin
  if to_regtype('public.messenger_type') is null then
    create type public.messenger_type as enum (
      'telegram', 'whatsapp', 'wpp_connect', 'salebot', 'sms', 'email', 'call', 'internal', 'max',
      'system');
  end if;
  if to_regtype('public.message_status') is null then
    create type public.message_status as enum ('queued', 'sent', 'delivered', 'read', 'failed');
  end if;
end
$$;

alter type public.messenger_type add value if not exists 'whatsapp';
alter type public.message_status add value if not exists 'queued';
alter type public.message_status add value if not exists 'sent';
alter type public.message_status add value if not exists 'delivered';
alter type public.message_status add value if not exists 'read';
alter type public.message_status add value if not exists 'failed';
alter type public.message_status add value if not exists 'deleted';
alter type public.message_status add value if not exists 'unknown';
