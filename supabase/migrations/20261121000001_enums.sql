-- The two enums of chat_messages, made where missing and widened where they exist.
-- A file of its own: a value added to an enum can't be used in the transaction that adds it.

do $$
begin
  if to_regtype('public.messenger_type') is null then
    create type public.messenger_type as enum
      ('telegram', 'whatsapp', 'wpp_connect', 'salebot', 'sms', 'email', 'call', 'internal', 'max', 'system');
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
